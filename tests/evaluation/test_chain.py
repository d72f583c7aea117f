import json

import pytest

from jaxir.checks import InputError
from jaxir.data.prepare import prepare
from jaxir.evaluation import chain, measures, table
from jaxir.evaluation.chain_report import write_chain_report
from jaxir.files import read_manifest
from jaxir.retrieval import runs

from .conftest import toy_source

SCANN = {"force_tree": True, "leaves": 4, "dims_per_block": 2}
NAMES = ["bm25", "dense_exact", "dense_scann", "hybrid"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def result(model, toy, workdir):
    return chain.evaluate_chain(model, toy, workdir, scann_options=SCANN, progress=False)


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
    again = chain.evaluate_chain(model, toy, workdir, scann_options=SCANN, progress=False)
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
        ({"depth": 0}, "depth is 0"),
        ({"measures": "ndcg@10"}, "Did you mean 'nDCG'"),
        ({"baseline": "dense"}, "unknown baseline run 'dense'"),
    ],
)
def test_misuse_is_told_before_anything_is_encoded(model, toy, tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        chain.evaluate_chain(model, toy, tmp_path, progress=False, **options)
    assert not list(tmp_path.iterdir())
