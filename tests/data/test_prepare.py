import errno
import json
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxir.checks import InputError
from jaxir.data import records
from jaxir.data.prepare import prepare, prepare_spec
from jaxir.data.prepared import load, qrels_by_id
from jaxir.data.sources import open_source
from jaxir.files import read_manifest
from jaxir.types import Doc, Qrel, Query, Source
from tests.data.conftest import make_source


def small(**changes):
    """Two documents, one query, one judgement; with parts of it replaced."""
    source = Source(
        "small",
        [Doc("a", "", "apple"), Doc("b", "", "bear")],
        {"test": [Query("q", "fruit")]},
        {"test": [Qrel("q", "a", 1)]},
    )
    return source._replace(**changes)


def write(source, tmp_path, **options):
    return prepare(source, tmp_path / "out", progress=False, **options)


def test_round_trip(toy):
    source = make_source()
    assert list(toy.docs) == source.docs
    for split, queries in source.queries.items():
        assert list(toy.queries[split]) == queries
    assert set(toy.qrels) == {"train", "test"}
    for split, qrels in source.qrels.items():
        table = toy.qrels[split]
        found = [
            Qrel(toy.queries[split][q].query_id, toy.docs[d].doc_id, r)
            for q, d, r in zip(*(column.tolist() for column in table))
        ]
        assert found == qrels
    assert table.query_row.dtype == table.doc_row.dtype == np.int64
    assert table.relevance.dtype == np.int32
    assert toy.counts == {
        "docs": 40,
        "empty_docs": 0,
        "queries": {"train": 20, "test": 3},
        "qrels": {"train": 80, "test": 3},
        "dropped_qrels": 0,
    }
    assert qrels_by_id(toy, "test") == {f"toy-t{i}": {f"toy-d{i}": 1} for i in range(3)}


def test_tfds_reads_it(toy):
    docs = tfds.builder_from_directory(toy.path / "docs").as_data_source("corpus")
    assert docs[7] == {k: v.encode() for k, v in toy.docs[7]._asdict().items()}
    qrels = tfds.builder_from_directory(toy.path / "qrels").as_data_source("train")
    assert (qrels[4]["query_row"], qrels[4]["doc_row"], qrels[4]["relevance"]) == (1, 1, 1)
    read_manifest(toy.path, "dataset", verify=True)


def test_the_fingerprint_is_of_the_content(toy, tmp_path):
    source = make_source()
    again = prepare(source._replace(name="other name"), tmp_path / "same", progress=False)
    assert again.fingerprint == toy.fingerprint
    changed = [
        source._replace(docs=[*source.docs[:-1], source.docs[-1]._replace(text="changed")]),
        source._replace(docs=source.docs[::-1]),
        source._replace(queries={**source.queries, "test": source.queries["test"][::-1]}),
        source._replace(qrels={**source.qrels, "test": source.qrels["test"][:2]}),
    ]
    prints = {prepare(s, tmp_path / str(i), progress=False).fingerprint for i, s in enumerate(changed)}
    assert len(prints | {toy.fingerprint}) == len(changed) + 1


def test_a_corpus_alone(tmp_path):
    prepared = write(small(queries={}, qrels={}), tmp_path)
    assert len(prepared.docs) == 2
    assert (dict(prepared.queries), dict(prepared.qrels)) == ({}, {})


def test_texts_that_are_empty_are_counted(tmp_path):
    prepared = write(small(docs=[Doc("a", "", " "), Doc("b", "title", ""), Doc("c", "", "")]), tmp_path)
    assert prepared.counts["empty_docs"] == 2


def test_split_names_that_tfds_does_not_know(tmp_path):
    source = small(queries={"dev/small": [Query("q", "x")]}, qrels={"dev/small": [Qrel("q", "a", 1)]})
    prepared = write(source, tmp_path)
    assert list(prepared.queries) == list(prepared.qrels) == ["dev_small"]
    with pytest.raises(InputError, match="differ in signs only"):
        write(small(queries={"a-b": [], "a/b": []}), tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"docs": []}, "small has no documents"),
        (
            {"docs": [Doc("a", "", "1"), Doc("b", "", "2"), Doc("a", "", "3")]},
            "document id 'a' occurs twice, as number 1 and number 3",
        ),
        (
            {"queries": {"test": [Query("q", "1"), Query("q", "2")]}},
            "query id 'q' occurs twice, as number 1 and number 2",
        ),
        (
            {"qrels": {"test": [Qrel("q", f"x{i}", 1) for i in range(5)]}},
            r"qrels of 'test': 5 judgements name unknown documents \('x0', 'x1', 'x2', \.\.\.\)",
        ),
        (
            {"qrels": {"test": [Qrel("p", "a", 1)]}},
            r"1 judgements name unknown queries \('p'\); add --missing=drop",
        ),
        ({"qrels": {"dev": [Qrel("q", "a", 1)]}}, "unknown queries"),
        (
            {"qrels": {"test": [Qrel("q", "a", 1), Qrel("q", "a", 0)]}},
            "query 'q' and document 'a' are judged twice, as 1 and 0",
        ),
    ],
)
def test_refused_and_nothing_left(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        write(small(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_ids_can_be_dropped(tmp_path):
    rows = [Qrel("q", "x", 1), Qrel("q", "b", 1), Qrel("p", "a", 1), Qrel("q", "b", 1)]
    prepared = write(small(qrels={"test": rows}), tmp_path, missing="drop")
    assert prepared.counts["dropped_qrels"] == 2
    assert [c.tolist() for c in prepared.qrels["test"]] == [[0], [1], [1]]
    with pytest.raises(InputError, match=r"unknown value of missing 'dorp'. Did you mean 'drop'"):
        prepare(small(), tmp_path / "other", missing="dorp")


def test_the_file_with_unknown_ids_is_named(tmp_path, beir):
    folder = beir(
        [{"_id": "a", "text": "x"}],
        [{"_id": "q", "text": "y"}],
        **{"qrels/test.tsv": "q\ta\t1\nq\tz\t1\n"},
    )
    with pytest.raises(InputError, match=r"set/qrels/test.tsv: 1 judgements name unknown documents"):
        prepare(open_source(f"beir:{folder}"), tmp_path / "out", progress=False)


def test_overwrite(tmp_path):
    write(small(), tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write(small(), tmp_path)
    assert len(write(small(docs=[Doc("a", "", "new")]), tmp_path, overwrite=True).docs) == 1
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match="data sets of jaxir's only"):
        prepare(small(), foreign, overwrite=True)
    assert (foreign / "letters.txt").read_text() == "dear"


def test_a_failed_overwrite_leaves_the_old_one(tmp_path):
    before = write(small(), tmp_path)
    with pytest.raises(InputError):
        write(small(docs=[]), tmp_path, overwrite=True)
    assert load(tmp_path / "out").fingerprint == before.fingerprint


class FullDisk:
    """What array_record's writer does on a full disk: silence until it is closed."""

    def __init__(self, path, options):
        pass

    def write(self, record):
        pass

    def close(self):
        raise RuntimeError("write() failed: No space left on device; writing x; at byte 9")


def test_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ArrayRecordWriter", FullDisk)
    with pytest.raises(OSError) as caught:
        write(small(), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_directories(tmp_path):
    with pytest.raises(InputError, match="no directory"):
        load(tmp_path / "nothing")
    write(small(), tmp_path)
    shard = next((tmp_path / "out" / "docs").glob("*.array_record*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged"):
        load(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps({"kind": "index"}))
    with pytest.raises(InputError, match="holds 'index', expected 'dataset'"):
        load(tmp_path / "out")


class Endless:
    """Documents that are made when they are asked for."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return (Doc(f"d{i}", "", f"{i} " * 2000) for i in range(self.count))


def test_documents_are_streamed(tmp_path):
    def peak(count):
        tracemalloc.start()
        prepare(Source("big", Endless(count), {}, {}), tmp_path / str(count), progress=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(10)  # imports
    few, many = peak(200), peak(2000)  # 2 and 20 MB of text
    assert many - few < 1_000_000


def test_prepare_spec_does_it_once(tmp_path, beir, monkeypatch):
    folder = beir([{"_id": "a", "text": "x"}])
    first = prepare_spec(f"beir:{folder}", tmp_path / "data", progress=False)
    monkeypatch.setattr("jaxir.data.prepare.open_source", None)  # would fail if it were called
    again = prepare_spec(f"beir:{folder}", tmp_path / "data")
    assert again.path == first.path
    assert first.path.parent == tmp_path / "data"
    for spec in (str(first.path), f"tfds:{first.path}"):
        assert prepare_spec(spec, tmp_path / "elsewhere").path == first.path
    assert not (tmp_path / "elsewhere").exists()


def test_a_prepared_set_is_a_source(toy, tmp_path):
    again = prepare(open_source(f"tfds:{toy.path}"), tmp_path / "again", progress=False)
    assert again.fingerprint == toy.fingerprint


def test_tfds_data_sets_of_others(tmp_path):
    folder = tmp_path / "theirs"
    schema = {"doc_id": str, "text": str, "year": np.int64}
    records.write(folder / "docs", schema, {"corpus": [("a", "apple", 1990)]})
    source = open_source(f"tfds:{folder}")
    assert list(source.docs) == [Doc("a", "", "apple")]
    assert (source.queries, source.qrels) == ({}, {})
    records.write(folder / "queries", {"id": str, "text": str}, {"test": [("q", "x")]})
    with pytest.raises(InputError, match="no field 'query_id'; it has "):
        open_source(f"tfds:{folder}")
    with pytest.raises(InputError, match="no directory"):
        open_source("tfds:nowhere")


def test_the_command(run_jaxir, tmp_path, beir):
    folder = beir(
        [{"_id": "a", "text": "x"}, {"_id": "b", "text": "y"}],
        [{"_id": "q", "text": "y"}],
        **{"qrels/test.tsv": "q\ta\t1\nq\tz\t1\n"},
    )
    arguments = ["prepare", f"--source=beir:{folder}", f"--out={tmp_path / 'out'}"]
    refused = run_jaxir(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("add --missing=drop to leave them out")
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()
    done = run_jaxir(*arguments, "--missing=drop")
    assert done.returncode == 0, done.stderr
    assert "set: documents" in done.stdout
    assert f"--config.data.source={tmp_path / 'out'}" in done.stdout
    assert len(load(tmp_path / "out").docs) == 2


@pytest.mark.parametrize("name", ["limit-small", "noveleval", "xquad/zh", "trecqa"])
def test_real_sets(real_data, tmp_path, name):
    meta = json.loads((real_data / name / "meta.json").read_text())
    prepared = prepare(open_source(f"beir:{real_data / name}"), tmp_path / "out", progress=False)
    assert len(prepared.docs) == meta["docs"]
    for split, facts in meta["queries"].items():
        table = prepared.qrels[split]
        assert len(prepared.queries[split]) == facts["queries"]
        assert (table.relevance > 0).sum() == facts["qrels"]
        assert len(table.relevance) == facts.get("judged", facts["qrels"])
