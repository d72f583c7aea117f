import concurrent.futures

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxir.checks import InputError
from jaxir.data import records

SCHEMA = {"name": str, "small": np.int32, "large": np.int64}
ROWS = [(f"näme {i}" if i else "", i - 3, i << 40) for i in range(50)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "things"
    splits = {"one": iter(ROWS), "two": iter(ROWS[:2]), "none": iter(())}
    assert records.write(path, SCHEMA, splits) == {"one": 50, "two": 2}
    return path


@pytest.fixture
def rows(directory):
    return records.Records(directory, "one", SCHEMA, lambda *values: values, 50)


def test_tfds_reads_them(directory):
    source = tfds.builder_from_directory(directory).as_data_source("one")
    assert len(source) == 50
    for i in (0, 7):
        values = source[i]
        assert (values["name"].decode(), values["small"], values["large"]) == ROWS[i]


def test_random_access(rows):
    assert rows[3] == ROWS[3]
    assert rows[np.int64(-1)] == ROWS[-1]
    assert rows[5:9] == ROWS[5:9]
    assert rows.rows([7, 2, 7]) == [ROWS[7], ROWS[2], ROWS[7]]
    assert rows.rows(np.array([], np.int64)) == []
    assert list(rows) == ROWS
    assert len(rows) == 50
    with pytest.raises(IndexError):
        rows[50]


def test_many_threads(rows):
    orders = [np.random.default_rng(i).permutation(50) for i in range(16)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for order, found in zip(orders, pool.map(rows.rows, orders)):
            assert found == [ROWS[i] for i in order]


def test_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHARD_ROWS", 7)
    records.write(tmp_path / "things", SCHEMA, {"one": iter(ROWS)}, compress=False)
    assert len(list((tmp_path / "things").glob("*.array_record*"))) == 8
    found = records.Records(tmp_path / "things", "one", SCHEMA, lambda *values: values, 50)
    assert list(found) == ROWS
    assert len(tfds.builder_from_directory(tmp_path / "things").as_data_source("one")) == 50


def test_describe(directory, tmp_path):
    rows, fields = records.describe(directory)
    assert (rows, sorted(fields)) == ({"one": 50, "two": 2}, sorted(SCHEMA))
    with pytest.raises(InputError, match="not a TFDS data set"):
        records.describe(tmp_path)


def test_nothing_to_write_leaves_nothing(tmp_path):
    assert records.write(tmp_path / "things", SCHEMA, {"one": iter(())}) == {}
    assert not (tmp_path / "things").exists()


def test_another_length_is_refused(directory):
    found = records.Records(directory, "one", SCHEMA, lambda *values: values, 49)
    with pytest.raises(InputError, match="holds 50 rows"):
        found[0]
