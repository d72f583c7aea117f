"""Vectors directories: round trip, and what is refused."""

import json

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.retrieval import vectors
from jaxir.retrieval.ids import pack_ids, unpack_ids

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
IDS = ["a", "bb", "ü/3", "d"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(tmp_path, dtype):
    vectors.write(tmp_path / "v", VALUES.astype(dtype), IDS, model="m", extra=[1])
    got = vectors.read(tmp_path / "v")
    np.testing.assert_array_equal(got.values, VALUES)
    assert str(got.values.dtype) == dtype
    assert unpack_ids(got.ids) == IDS
    facts = {"n": 4, "dim": 3, "dtype": dtype, "side": "doc", "model": "m", "extra": [1]}
    assert facts.items() <= got.manifest.items()
    assert got.values.base is not None  # a view of the mapped file, not a copy


def test_header_then_rows_is_an_npy_file(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        assert vectors.write_header(file, VALUES.shape, "float32") % 16 == 0
        file.write(VALUES[:2])
        file.write(VALUES[2:])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), VALUES)


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="4 vectors come with 3 ids"):
        vectors.write(tmp_path / "v", VALUES, IDS[:3])
    with pytest.raises(InputError, match="'a' occurs more than once"):
        vectors.write(tmp_path / "v", VALUES, ["a", "b", "a", "c"])
    with pytest.raises(InputError, match="float64"):
        vectors.write(tmp_path / "v", VALUES.astype(np.float64), IDS)
    with pytest.raises(InputError, match="id of row 1"):
        pack_ids(["a", ""])
    assert not list(tmp_path.iterdir())


def test_foreign_and_torn_directories(tmp_path):
    with pytest.raises(InputError, match="there is no directory"):
        vectors.read(tmp_path / "nowhere")
    (tmp_path / "foreign").mkdir()
    with pytest.raises(InputError, match="not written by jaxir"):
        vectors.read(tmp_path / "foreign")
    vectors.write(tmp_path / "v", VALUES, IDS)
    manifest = tmp_path / "v" / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, "dim": 7}))
    with pytest.raises(InputError, match=r"damaged.*\(4, 3\).*\(4, 7\)"):
        vectors.read(tmp_path / "v")
    manifest.write_text(json.dumps(facts))
    (tmp_path / "v" / "vectors.npy").write_bytes(b"short")
    with pytest.raises(InputError, match=r"vectors\.npy is missing or has another size"):
        vectors.read(tmp_path / "v")


def test_arrays_of_objects_are_not_loaded(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no array file"):
        vectors.open_array(tmp_path / "evil.npy")
