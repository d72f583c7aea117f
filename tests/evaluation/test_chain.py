import importlib.util
import json

import jax.numpy as jnp
import pytest

from jaxir.checks import InputError
from jaxir.data.prepare import prepare
from jaxir.evaluation import chain, measures, stages, table
from jaxir.evaluation.chain_report import summary, write_chain_report
from jaxir.files import read_manifest
from jaxir.retrieval import runs
from jaxir.types import Encoder, Reps

from .conftest import toy_source

KINDS = ("exact", "scann")
SCANN = {"force_tree": True, "leaves": 4, "dims_per_block": 2}
NAMES = ["bm25", "dense_exact", "dense_scann", "hybrid"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def result(model, toy, workdir):
    return chain.evaluate_chain(model, toy, workdir, kinds=KINDS, scann_options=SCANN, progress=False)


def test_four_runs_of_the_judged_queries(result, toy):
    assert list(result.runs) == list(result.figures) == list(result.per_query) == NAMES
    assert list(result.qrels) == [q.query_id for q in toy.queries["test"]]
    for run in result.runs.values():
        assert list(run) == list(result.qrels)
    # Words in common are enough here, for BM25 and for an untrained bag of embeddings.
    assert result.figures["bm25"]["MRR@10"] > 0.8
    assert result.figures["dense_exact"]["MRR@10"] > 0.5
    assert len(result.runs["dense_exact"]["test1"]) == 80  # the corpus is smaller than the depth
    assert result.scann_recall > 0.9
    assert result.hybrid.chosen == "chosen by MRR@10 on 20 development queries"
    assert result.figures["hybrid"]["MRR@10"] >= result.figures["dense_exact"]["MRR@10"]
    assert any("hybrid: weighted" in note for note in result.notes)
    assert set(result.p_values["hybrid"]) == {"MRR@10", "nDCG@10", "R@100"}
    assert not result.p_values["bm25"]
    assert {"encode", "index_exact", "search_scann", "bm25", "hybrid", "measure"} <= set(result.seconds)


def test_the_written_runs_measure_the_same(result):
    home = result.indexes["exact"].parent
    for name in NAMES:
        again = measures.evaluate(runs.read(home / f"test.{name}.trec"), result.qrels)
        assert again == pytest.approx(result.figures[name]), name


def test_what_is_there_is_used_again(result, model, toy, workdir):
    home = result.indexes["exact"].parent
    before = {p: p.stat().st_mtime_ns for p in home.rglob("manifest.json")}
    assert len(before) == 3
    again = chain.evaluate_chain(model, toy, workdir, kinds=KINDS, scann_options=SCANN, progress=False)
    assert {p: p.stat().st_mtime_ns for p in home.rglob("manifest.json")} == before
    assert again.figures == result.figures
    other = model._replace(fingerprint="another")
    fresh = chain.evaluate_chain(other, toy, workdir, kinds=("exact",), bm25=False, depth=5, progress=False)
    assert fresh.indexes["exact"].parent != home
    assert read_manifest(fresh.indexes["exact"])["model"] == "another"
    assert list(fresh.runs) == ["dense_exact"]
    assert {len(docs) for docs in fresh.runs["dense_exact"].values()} == {5}
    assert fresh.hybrid is None
    assert fresh.scann_recall is None


def test_without_development_queries_the_weight_is_fixed(model, tmp_path):
    data = prepare(toy_source("bare", ("test",)), tmp_path / "data", progress=False)
    found = chain.evaluate_chain(model, data, tmp_path, kinds=("exact",), progress=False)
    assert (found.hybrid.method, found.hybrid.weight) == ("min-max", 0.5)
    assert "fixed" in found.hybrid.chosen


def test_the_report(result, model, toy, workdir, tmp_path):
    (workdir / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n')
    page = write_chain_report(
        tmp_path / "report",
        result,
        model=model,
        prepared=toy,
        workdir=workdir,
        seconds={"train": 2.0, "encode": 1.0},
    )
    figures = json.loads((page.parent / "results.json").read_text())
    assert figures["runs"] == result.figures
    assert figures["scann_recall@100"] == result.scann_recall
    assert figures["seconds"] == {"total": 3.0, "train": 2.0, "encode": 1.0}
    assert figures["corpus"] == {"docs": 80, "dev": 20, "test": 20}
    assert figures["hybrid"]["weight"] == result.hybrid.weight
    assert (page.parent / "loss.png").exists()
    assert (page.parent / "per_query.png").exists()
    assert "toy: 20 queries of test" in page.read_text()
    assert "title 1" in page.read_text()


def test_the_baseline_can_be_another_run(result, model, toy, workdir):
    found = chain.evaluate_chain(
        model, toy, workdir, kinds=("exact",), baseline="dense_exact", progress=False
    )
    assert found.table.baseline == "dense_exact"
    assert set(table.as_json(found.table)) == {"bm25", "hybrid"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"kinds": ("exat",)}, "Did you mean 'exact'"),
        ({"kinds": ()}, "at least one kind"),
        ({"kinds": ("exact", "bmp")}, r"kind bmp does not hold dense vectors.*take exact, scann"),
        ({"depth": 0}, "depth is 0"),
        ({"measures": "ndcg@10"}, "Did you mean 'nDCG'"),
        ({"baseline": "dense"}, "unknown baseline run 'dense'"),
    ],
)
def test_misuse_is_told_before_anything_is_encoded(model, toy, tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        chain.evaluate_chain(model, toy, tmp_path, progress=False, **options)
    assert not list(tmp_path.iterdir())


def words(side_weights):
    """A sparse encoder without parameters: each token's id decides its weight; a query token 3 has none."""

    def encode(params, tokens, *, side="query", layers=None, key=None):
        ids, real = jnp.asarray(tokens.ids), jnp.asarray(tokens.mask)
        weights = real * (1 + ids % 3) * side_weights[side] * (ids != 3)
        rows = jnp.zeros((len(ids), 600)).at[jnp.arange(len(ids))[:, None], ids].max(weights)
        return Reps(rows)

    return Encoder(lambda key: {}, encode, "sparse", 600)


@pytest.fixture(scope="module")
def both(model):
    """A hybrid of the toy model and of words."""
    sparse = words({"query": 0.5, "doc": 1.0})
    encoder = Encoder(
        model.encoder.init, None, "hybrid", 632, parts={"dense": model.encoder, "sparse": sparse}
    )
    return model._replace(encoder=encoder, fingerprint="both")


def test_a_sparse_encoder(both, toy, tmp_path):
    sparse = both._replace(encoder=both.encoder.parts["sparse"])
    kinds = ("exact", *(kind for kind in ("seismic", "bmp") if importlib.util.find_spec(kind)))
    found = chain.evaluate_chain(sparse, toy, tmp_path, kinds=kinds, dev_split=None, progress=False)
    own = ["sparse_exact", *(f"sparse_{kind}" for kind in kinds[1:])]
    assert list(found.runs) == ["bm25", *own, "hybrid"]
    assert found.figures["sparse_exact"]["MRR@10"] > 0.8
    assert list(found.recalls) == own[1:]
    assert all(recall > 0.8 for recall in found.recalls.values())
    assert list(found.searches) == own
    assert found.searches["sparse_exact"]["index bytes"] > 1000
    assert found.searches["sparse_exact"]["milliseconds per query"] > 0
    assert 3 < found.sparsity["active query terms"] < found.sparsity["active document terms"]
    assert "0.5 sparse + 0.5 BM25" in " ".join(found.notes)
    page = write_chain_report(tmp_path / "r", found, model=sparse, prepared=toy, workdir=tmp_path)
    figures = json.loads((page.parent / "results.json").read_text())
    assert figures["sparsity"] == found.sparsity
    assert figures["searches"] == found.searches
    assert "What a search costs" in page.read_text()


def test_the_parts_of_a_hybrid_are_searched_and_added(both, toy, tmp_path):
    found = chain.evaluate_chain(both, toy, tmp_path, bm25=False, depth=30, progress=False)
    assert list(found.runs) == ["dense_exact", "sparse_exact", "dense+sparse"]
    assert set(found.indexes) == {"exact", "sparse"}
    for query, docs in found.runs["dense+sparse"].items():
        parts = [found.runs[name][query] for name in ("dense_exact", "sparse_exact")]
        best = next(iter(docs))
        expected = sum(0.5 * part.get(best, min(part.values())) for part in parts)
        assert docs[best] == pytest.approx(expected)
        assert len(docs) == 30
    with pytest.raises(InputError, match="add --part=dense or --part=sparse"):
        stages.encode_docs(both, toy, tmp_path / "v", model_path="m", progress=False)


def test_queries_without_a_term_find_nothing_and_are_counted(both, toy, tmp_path):
    silent = both._replace(encoder=words({"query": 0.0, "doc": 1.0}))
    found = chain.evaluate_chain(silent, toy, tmp_path, dev_split=None, bm25=False, progress=False)
    assert not any(found.runs["sparse_exact"].values())
    assert found.figures["sparse_exact"]["MRR@10"] == 0
    assert "20 of 20 queries have no active term" in " ".join(found.notes)


def test_a_funnel_stands_beside_exact_search(model, toy, workdir):
    sizes = dict(dims=8, rerank_dims=None, rerank=40)
    result = chain.evaluate_chain(
        model, toy, workdir, funnel=sizes, measures="MRR@10", depth=20, bm25=False, progress=False
    )
    assert list(result.runs) == ["dense_exact", "dense_funnel-exact"]
    found, exact = result.runs["dense_funnel-exact"], result.runs["dense_exact"]
    shared = [len(found[query].keys() & exact[query].keys()) / 20 for query in exact]
    assert result.recalls == {"dense_funnel-exact": pytest.approx(sum(shared) / len(shared))}
    costs = {name: cost["index bytes"] for name, cost in result.searches.items()}
    assert costs["dense_funnel-exact"] - costs["dense_exact"] == pytest.approx(80 * 8 * 4, abs=200)
    first = {name: [list(docs)[:10] for docs in run.values()] for name, run in result.runs.items()}
    shared = [len({*a} & {*b}) / 10 for a, b in zip(*first.values())]
    assert result.searches["dense_funnel-exact"]["recall@10"] == pytest.approx(sum(shared) / len(shared))
    assert "funnel: of all documents by 8 dimensions, the first 40 again by 32" in result.notes
    assert summary(result, toy)["funnel-exact_recall@100"] == result.recalls["dense_funnel-exact"]
    for wrong, sentence in (
        (dict(dims=64), "dims is 64, but the vectors have 32 dimensions"),
        (dict(dims=8, rerank=19), "20 documents per query, but the funnel scores only 19 again"),
        (dict(dims=None), "needs dims"),
    ):
        with pytest.raises(InputError, match=sentence):
            chain.evaluate_chain(model, toy, workdir, funnel=wrong, depth=20, bm25=False, progress=False)
    sparse = model._replace(encoder=model.encoder._replace(kind="sparse"))
    with pytest.raises(InputError, match="the encoder gives 'sparse' ones"):
        chain.evaluate_chain(sparse, toy, workdir, funnel=sizes, progress=False)
