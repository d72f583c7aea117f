"""jaxir rerank and jaxir score with a cross-encoder: restarts, errors, the order of the run."""

import jax
import numpy as np
import pytest
from absl import flags

from jaxir.checks import InputError
from jaxir.cli import rerank as command
from jaxir.data.padding import pad_flat
from jaxir.data.pairs import Joiner
from jaxir.data.ragged import Ragged
from jaxir.evaluation import teacher
from jaxir.models.cross_encoder import cross_encoder
from jaxir.retrieval import pair_scores, runs
from jaxir.retrieval.encode_fn import make_encode_fn
from jaxir.retrieval.model import encode_queries, make_doc_fn
from jaxir.retrieval.rerank import by_words, rerank
from jaxir.training import checkpoint


@pytest.fixture(scope="module")
def cross(model):
    sep = model.tokenizer.pair().middle[0]
    sizes = dict(layers=1, dim=16, heads=2, ff_dim=16, token_types=2, sep_id=sep)
    encoder = cross_encoder(model.tokenizer.vocab_size, **sizes)
    params = encoder.init(jax.random.key(0))
    return model._replace(encoder=encoder, params=params, fingerprint="toy-cross")


@pytest.fixture(scope="module")
def lexical(model, toy):
    return by_words(model, toy, "dev", depth=6, progress=False)


def call(*args):
    values = flags.FlagValues()
    command.define(values)
    command.run(values, values(["jaxir rerank", *args])[1:])


def directly(model, toy, query_row, doc_row):
    """One pair after another, as the encoder reads it."""
    encode = lambda texts: Ragged.of(model.tokenizer.encode_plain(texts))
    queries = encode([q.text for q in toy.queries["dev"].rows(query_row)])
    docs = encode([d.text for d in toy.docs.rows(doc_row)])
    joined = Joiner(model.tokenizer, query=16, pair=48)(queries, docs)
    tokens = pad_flat(joined.flat, joined.lengths, 48)
    return np.asarray(model.encoder.encode(model.params, tokens, side="doc").values[:, 0])


def test_scores_are_those_of_the_encoder_and_go_on_after_a_stop(cross, toy, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    query_row, doc_row = rng.integers(0, 20, 50), rng.integers(0, 80, 50)
    monkeypatch.setitem(pair_scores.SHARD_PAIRS, "cpu", 20)
    how = dict(out=tmp_path / "a.trec", desc=None)
    read = pair_scores._Reader.__call__
    calls = []

    def failing(self, *args):
        calls.append(len(args[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(self, *args)

    monkeypatch.setattr(pair_scores._Reader, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        pair_scores.score_pairs(cross, toy, "dev", query_row, doc_row, **how)
    found = pair_scores.score_pairs(cross, toy, "dev", query_row, doc_row, **how)
    assert calls == [20, 20, 20, 10]  # the first shard was there
    np.testing.assert_allclose(found, directly(cross, toy, query_row, doc_row), atol=1e-5)
    again = pair_scores.score_pairs(cross, toy, "dev", query_row, doc_row, **how)
    np.testing.assert_array_equal(again, found)
    assert len(calls) == 4  # all were there
    other = cross._replace(fingerprint="another")
    pair_scores.score_pairs(other, toy, "dev", query_row, doc_row, **how)
    assert len(calls) == 7
    pair_scores.forget(tmp_path / "a.trec")
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_ordered_anew_to_a_depth(model, toy, lexical):
    """By a bi-encoder: its exact products, in their order; what is beyond the depth stays below."""
    new = rerank(model, toy, "dev", lexical, depth=4, desc=None)
    queries = encode_queries(model, [q.text for q in toy.queries["dev"]])
    products = queries @ make_doc_fn(model)(list(toy.docs)).T
    for row, query in enumerate(toy.queries["dev"]):
        before, after = list(lexical[query.query_id]), list(new[query.query_id])
        scores = {d: products[row, int(d[1:])] for d in before[:4]}
        assert after[:4] == sorted(before[:4], key=lambda d: -scores[d])
        assert after[4:] == before[4:]
        np.testing.assert_allclose(
            list(new[query.query_id].values())[:4], sorted(scores.values())[::-1], rtol=1e-4
        )
        assert list(new[query.query_id].values()) == sorted(new[query.query_id].values(), reverse=True)


def test_the_command(cross, toy, lexical, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "load_model", lambda name, **options: cross)
    fixed = ["--model=cross", f"--source={toy.path}", "--split=dev", "--depth=3"]
    out = tmp_path / "new.trec"
    call(*fixed, f"--out={out}")
    shown = capsys.readouterr().out
    assert "bm25" in shown
    assert "reranked" in shown
    assert "nDCG@10" in shown
    found = runs.read(out)
    assert all(len(docs) <= 3 for docs in found.values())
    (tmp_path / "runs").mkdir()
    runs.write(tmp_path / "runs" / "one.trec", lexical)
    call(*fixed, f"--run={tmp_path / 'runs'}", f"--out={tmp_path / 'out'}")
    again = runs.read(tmp_path / "out" / "one.trec")
    assert {q: list(docs)[:3] for q, docs in again.items()} == {q: list(d) for q, d in found.items()}
    assert not list(tmp_path.glob(".*")) + list((tmp_path / "out").glob(".*"))
    with pytest.raises(InputError, match="exists already"):
        call(*fixed, f"--out={out}")
    for name, run, sentence in (
        (
            "docs",
            {"dev0": {"d3": 1.0, "x1": 0.5, "x2": 0.4}},
            "names 2 documents that are not in toy: 'x1', 'x2'",
        ),
        ("queries", {"q7": {"d3": 1.0}}, "names 1 queries that are not in split 'dev' of toy: 'q7'"),
    ):
        runs.write(tmp_path / f"{name}.trec", run)
        with pytest.raises(InputError, match=sentence):
            call(*fixed, f"--run={tmp_path / name}.trec", f"--out={tmp_path / 'never.trec'}")
    with pytest.raises(InputError, match="needs --source, --out"):
        call("--model=cross")


def test_a_cross_encoder_teaches_and_does_not_search(cross, toy, tmp_path):
    options = dict(depth=2, first=cross, workdir=tmp_path, progress=False)
    pairs = teacher.pairs_of(toy, "dev", *teacher.candidates(toy, "dev", "bm25", **options), depth=2)
    scores = teacher.score(cross, toy, "dev", pairs, out=tmp_path / "t.jsonl", progress=False)
    np.testing.assert_allclose(scores, directly(cross, toy, pairs.query_row, pairs.doc_row), atol=1e-5)
    assert (tmp_path / ".t.jsonl.partial.teacher-0").is_dir()
    teacher.write(tmp_path / "t.jsonl", toy, "dev", pairs, [scores])
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]
    with pytest.raises(InputError, match="a cross-encoder cannot search"):
        teacher.candidates(toy, "dev", "model", **options)
    with pytest.raises(InputError, match=r"the model is a cross-encoder.*jaxir rerank"):
        make_encode_fn(cross.encoder, cross.params)
