"""``jaxir mine`` over BM25 and a run, as a user calls it; over an index: tests/retrieval/test_commands.py."""

import gzip
import json

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.cli import mine as command
from jaxir.data.examples import build_examples
from jaxir.data.prepare import prepare
from jaxir.retrieval import mining_data, mining_job, runs
from jaxir.types import Doc, Qrel, Query, Source

SAID = [f"apple pear word{i} word{i + 1}" for i in range(12)]


def source():
    """Documents 12 and 13 say what 0 and 5 say; query q1 is the same as t0, which has another answer."""
    texts = [*SAID, SAID[0].upper(), f"  {SAID[5]} "]
    docs = [Doc(f"d{i}", "", text) for i, text in enumerate(texts)]
    queries = {
        "train": [Query(f"q{i}", f"apple word{i}") for i in range(6)],
        "test": [Query("t0", "apple  Word1")],
    }
    train = [Qrel(f"q{i}", f"d{i}", 1) for i in range(5)] + [Qrel("q0", "d7", 0)]
    return Source("fruit", docs, queries, {"train": train, "test": [Qrel("t0", "d8", 2)]})


@pytest.fixture(scope="module")
def fruit(tmp_path_factory):
    return prepare(source(), tmp_path_factory.mktemp("fruit") / "data", progress=False)


@pytest.fixture
def call(fruit, tmp_path):
    from absl import flags

    def call(*args, out="out.jsonl"):
        values = flags.FlagValues()
        command.define(values)
        out = tmp_path / out
        command.run(values, values(["jaxir mine", f"--source={fruit.path}", f"--out={out}", *args])[1:])
        opener = gzip.open if out.suffix == ".gz" else open
        with opener(out, "rt") as file:
            return {line["query_id"]: line for line in map(json.loads, file)}

    return call


def test_bm25(call, fruit, tmp_path, capsys):
    found = call("--bm25", "--depth=14", "--per_query=14")
    assert list(found) == [f"q{i}" for i in range(5)]  # q5 has no relevant document
    assert {"d0", "d12"}.isdisjoint(found["q0"]["doc_ids"])  # the positive, and its text
    assert {"d1", "d8"}.isdisjoint(found["q1"]["doc_ids"])  # of the same query in another split
    for line in found.values():
        assert len({"d5", "d13"} & set(line["doc_ids"])) == 1
    said = capsys.readouterr().out
    assert "5 queries, 54 negatives: 0 queries have 14, 5 fewer, 0 none" in said
    assert "known positives 6, the text of a positive under another id 1, a text that ranks" in said
    examples = build_examples(fruit, "train", listed=4, negatives_file=tmp_path / "out.jsonl")
    assert len(examples) == 5


def test_scores_are_a_teachers(call, fruit, tmp_path, capsys):
    found = call("--bm25", "--depth=5", "--scores", "--max_score=0.99", out="scored.jsonl.gz")
    assert [line["doc_ids"][0] for line in found.values()] == [f"d{i}" for i in range(5)]
    for line in found.values():
        assert line["scores"] == sorted(line["scores"], reverse=True)
    assert "a negative's score as a share of the positive's: 0-0.25" in capsys.readouterr().out
    examples = build_examples(fruit, "train", listed=2, negatives_file=tmp_path / "scored.jsonl.gz")
    np.testing.assert_allclose(examples.teacher, [line["scores"][0] for line in found.values()], rtol=1e-6)


def test_a_run_that_lacks_a_positive(call, tmp_path, capsys):
    run = {"q0": {"d3": 9.0, "d0": 8.0, "d4": 7.5, "d5": 1.0}, "q1": {"d4": 2.0}}
    runs.write(tmp_path / "a.trec", run)
    first = [f"--run={tmp_path / 'a.trec'}", "--scores"]
    found = call(*first, "--margin=0.25", "--depth=3")
    assert found["q0"] == {"query_id": "q0", "doc_ids": ["d0", "d4"], "scores": [8.0, 7.5]}
    assert found["q1"] == {"query_id": "q1", "doc_ids": ["d1"], "scores": [None]}
    assert (
        "3 queries found nothing at all\n4 queries have no positive with a score" in capsys.readouterr().out
    )


def test_it_goes_on_where_it_was_stopped(call, tmp_path, monkeypatch):
    monkeypatch.setattr(mining_job, "BLOCK", 2)
    whole = call("--bm25", "--depth=9", "--pick=random", "--per_query=3", out="whole.jsonl")
    inner, blocks = mining_job._mine_block, []

    def stopped(*args):
        blocks.append(args[5].tolist())
        if len(blocks) == 2:
            raise KeyboardInterrupt
        return inner(*args)

    again = ["--bm25", "--depth=9", "--pick=random", "--per_query=3"]
    monkeypatch.setattr(mining_job, "_mine_block", stopped)
    with pytest.raises(KeyboardInterrupt):
        call(*again)
    assert not (tmp_path / "out.jsonl").exists()
    with (tmp_path / ".out.jsonl.partial").open("a") as file:
        file.write('{"query_id": "q2", "doc_')  # torn
    assert call(*again) == whole
    assert blocks == [[0, 1], [2, 3], [2, 3], [4]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "whole.jsonl"]
    blocks[:] = [0, 0]
    with (tmp_path / ".out.jsonl.partial").open("w") as file:
        file.write('#"another job"\n{}\n#{}\n')
    assert call(*again, "--overwrite") == whole
    assert blocks[2:] == [[0, 1], [2, 3], [4]]


def test_mistakes(call, tmp_path):
    runs.write(tmp_path / "docs.trec", {"q0": {"d3": 9.0, "x": 8.0, "y": 7.0}})
    runs.write(tmp_path / "queries.trec", {"q0": {"d3": 9.0}, "t0": {"d3": 9.0}})
    for args, text in (
        ([f"--run={tmp_path / 'docs.trec'}"], "names 2 documents that are not in fruit: 'x', 'y'$"),
        (
            [f"--run={tmp_path / 'queries.trec'}"],
            "names 1 queries that are not in split 'train' of fruit: 't0'$",
        ),
        (["--bm25", "--depth=15"], "depth is 15, and fruit has 14 documents: give at most --depth=14"),
        (["--bm25", "--margin=-1"], "margin is -1.0"),
        (["--bm25", "--split=trian"], "Did you mean 'train'"),
        ([], "needs one of --index=DIR, --run=FILE and --bm25"),
        (["--bm25", f"--run={tmp_path / 'docs.trec'}"], "needs one of"),
        (
            ["--bm25", "--depth=9", "--absolute_max=-5", "--skip_top=2"],
            r"no negative is left of any query: of 45 documents found, dropped: .* skip_top 10, absolute_max",
        ),
    ):
        with pytest.raises(InputError, match=text):
            call(*args)
    assert not list(tmp_path.glob("*out*"))
    (tmp_path / "out.jsonl").write_text("")
    with pytest.raises(InputError, match="exists already"):
        call("--bm25")


def test_relevant_documents_say_which_are_the_splits_own(fruit):
    relevant = mining_data.relevant_of(fruit, "train")
    entries = {(q, d, own) for q, d, own in zip(relevant.owner, relevant.doc_row, relevant.label)}
    assert entries == {*((i, i, 1) for i in range(5)), (1, 8, 0)}
