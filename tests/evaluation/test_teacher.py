import json

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.cli import score as command
from jaxir.data.examples import build_examples
from jaxir.evaluation import teacher
from jaxir.retrieval import pair_scores, runs
from jaxir.retrieval.model import encode_queries, make_doc_fn
from jaxir.training import checkpoint


def call(*args):
    from absl import flags

    values = flags.FlagValues()
    command.define(values)
    command.run(values, values(["jaxir score", *args])[1:])


def test_pairs_have_every_relevant_document_and_the_first_others(toy):
    query_row = np.array([0, 0, 0, 0, 2, 1, 1])
    doc_row = np.array([5, 0, 6, 7, 1, 2, 9])  # relevant to query i of this split is document 4 i
    pairs = teacher.pairs_of(toy, "dev", query_row, doc_row, depth=2)
    listed = [(q, d, r) for q, d, r in zip(pairs.query_row, pairs.doc_row, pairs.relevant) if q <= 3]
    assert listed == [
        *((0, 0, True), (0, 5, False), (0, 6, False)),
        *((1, 4, True), (1, 2, False), (1, 9, False)),
        *((2, 8, True), (2, 1, False)),
        (3, 12, True),
    ]
    assert pairs.relevant.sum() == 20


@pytest.mark.parametrize("which", ["model", "sparse_model"])
def test_scores_are_those_of_search(which, toy, request, monkeypatch):
    model = request.getfixturevalue(which)
    rng = np.random.default_rng(0)
    pairs = teacher.pairs_of(toy, "test", rng.integers(0, 20, 60), rng.integers(0, 80, 60))
    monkeypatch.setattr(pair_scores, "SHARD_DOCS", 33)
    monkeypatch.setattr(pair_scores, "PRODUCTS", 7)
    found = teacher.score(model, toy, "test", pairs, progress=False)
    queries = encode_queries(model, [q.text for q in toy.queries["test"]])
    docs = make_doc_fn(model)(list(toy.docs))
    every = queries @ docs.T
    every = every.toarray() if which == "sparse_model" else every
    np.testing.assert_allclose(found, every[pairs.query_row, pairs.doc_row], rtol=1e-5, atol=1e-6)


def test_two_teachers_from_bm25_to_a_file(model, sparse_model, toy, tmp_path, monkeypatch, capsys):
    both = {"one": model, "two": sparse_model}
    monkeypatch.setattr(checkpoint, "load_model", lambda name, **options: both[name])
    monkeypatch.setattr("jaxir.training.compiled.keep_compiled", lambda path: None)
    fixed = [f"--source={toy.path}", "--split=dev", f"--workdir={tmp_path}"]
    out = tmp_path / "both.jsonl"
    call("--model=one", "--model=two", *fixed, "--depth=3", f"--out={out}")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["query_id"] for line in lines] == [q.query_id for q in toy.queries["dev"]]
    assert all(len(line["scores"]) == 2 for line in lines)
    assert all(len(line["scores"][0]) == len(line["doc_ids"]) <= 4 for line in lines)
    assert "20 queries, 20 relevant" in capsys.readouterr().out
    # One teacher, from the file of before: what training reads.
    single = tmp_path / "one.jsonl.gz"
    call("--model=one", *fixed, f"--candidates={without_scores(out)}", f"--out={single}")
    examples = build_examples(toy, "dev", listed=2, negatives_file=single)
    first = [line["scores"][0][0] for line in lines]
    np.testing.assert_allclose(examples.teacher, first, rtol=1e-6)
    with pytest.raises(InputError, match="exists already; choose another file or add --overwrite"):
        call("--model=one", *fixed, f"--out={out}")


def without_scores(path):
    """The lines of a file without their scores."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    other = path.with_name("plain.jsonl")
    rows = ({"query_id": line["query_id"], "doc_ids": line["doc_ids"]} for line in lines)
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return other


def test_candidates_of_the_model_and_of_a_run(sparse_model, toy, tmp_path):
    options = dict(depth=4, first=sparse_model, workdir=tmp_path, progress=False)
    query_row, doc_row = teacher.candidates(toy, "dev", "model", **options)
    assert query_row.max() == 19
    assert doc_row.min() >= 0
    runs.write(tmp_path / "a.trec", {"dev0": {"d7": 2.0, "d3": 3.0}})
    query_row, doc_row = teacher.candidates(toy, "dev", str(tmp_path / "a.trec"), **options)
    assert (query_row.tolist(), doc_row.tolist()) == ([0, 0], [3, 7])
    runs.write(tmp_path / "b.trec", {"dev0": {"d700": 2.0}})
    for origin, sentence in (
        (str(tmp_path / "b.trec"), "names 1 documents that are not in toy: 'd700'"),
        ("bm52", "neither bm25 nor model nor a file"),
    ):
        with pytest.raises(InputError, match=sentence):
            teacher.candidates(toy, "dev", origin, **options)
    with pytest.raises(InputError, match="queries that are not in split 'test'"):
        teacher.candidates(toy, "test", str(tmp_path / "a.trec"), **options)
    with pytest.raises(InputError, match="unknown split of toy 'train'"):
        teacher.candidates(toy, "train", "bm25", **options)
