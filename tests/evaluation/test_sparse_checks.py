import numpy as np
import pytest
from scipy.sparse import csr_array

from jaxir.evaluation import checkup, doctor, sparse_checks, stages
from jaxir.retrieval import sparse_vectors


@pytest.fixture
def sound():
    rng = np.random.default_rng(0)
    return rng.random((40, 200)) * (rng.random((40, 200)) < 0.05)


def level(findings):
    return findings[0].level


def test_sound_rows_pass(sound):
    rows = csr_array(sound)
    occurring = np.arange(150)
    for found in (
        sparse_checks.numbers(rows),
        sparse_checks.active_terms(rows),
        sparse_checks.sinks(rows),
        sparse_checks.dead_vocabulary(rows, occurring),
        sparse_checks.special_terms(csr_array(np.pad(sound, ((0, 0), (3, 0)))), (0, 1, 2)),
    ):
        assert level(found) == "ok", found


@pytest.mark.parametrize(("value", "sentence"), [(np.nan, "3 of 40 hold NaN"), (-0.5, "below 0")])
def test_numbers_that_no_index_takes(sound, value, sentence):
    sound[[1, 5, 9], 7] = value
    (found,) = sparse_checks.numbers(csr_array(sound))
    assert (found.level, sentence in found.message) == ("fail", True)


def test_empty_and_dense_texts(sound):
    sound[:2] = 0
    assert level(sparse_checks.active_terms(csr_array(sound))) == "warn"
    sound[:10] = 0
    (found,) = sparse_checks.active_terms(csr_array(sound))
    assert (found.level, "10 of 40 have no active term" in found.message) == ("fail", True)
    (found,) = sparse_checks.active_terms(csr_array(np.ones((4, 30))))
    assert (found.level, "4 of 4 activate more than half" in found.message) == ("fail", True)


def test_a_sink_is_named(sound):
    sound[:, 17] = 0.3  # in every text, but with little weight
    assert level(sparse_checks.sinks(csr_array(sound))) == "ok"
    sound[:, 17] = 1.5
    (found,) = sparse_checks.sinks(csr_array(sound), lambda j: f"term{j}")
    assert "'term17' (100% of the largest weight)" in found.message
    assert found.level == "warn"
    sound[:, 18:24] = 1.4
    (found,) = sparse_checks.sinks(csr_array(sound))
    assert (found.level, "and 2 more" in found.message) == ("fail", True)


def test_dead_vocabulary(sound):
    sound[:, :80] = 0
    (found,) = sparse_checks.dead_vocabulary(csr_array(sound), np.arange(100))
    assert (found.level, "of the tokens that occur in them 8" in found.message) == ("warn", True)
    assert level(sparse_checks.dead_vocabulary(csr_array(sound), np.arange(85))) == "fail"


def test_special_tokens(sound):
    sound[:, 1] = 1.0
    (found,) = sparse_checks.special_terms(csr_array(sound), (1,), lambda j: "[CLS]")
    assert (found.level, "'[CLS]' in 100%" in found.message) == ("warn", True)


def test_a_sparse_model_is_examined(sparse_model, toy):
    docs, queries = [d.text for d in toy.docs], [q.text for q in toy.queries["test"]]
    found = {f.check: f for f in doctor.check_model(sparse_model, docs, queries)}
    untrained = {"documents: dead vocabulary", "self-retrieval: documents as queries"}
    assert {c for c, f in found.items() if f.level == "fail"} <= untrained, found
    assert "from 50 to 50" in found["documents: active terms"].message  # top_k
    assert {"documents: sinks", "documents: special tokens", "queries: active terms", "padding"} <= set(found)


def test_a_hybrid_is_examined_part_by_part(sparse_model, toy, monkeypatch):
    encoder = sparse_model.encoder
    hybrid = sparse_model._replace(encoder=encoder._replace(kind="hybrid", parts={"one": encoder}))
    monkeypatch.setattr(doctor, "make_encode", lambda model: lambda texts, side: np.ones((len(texts), 600)))
    monkeypatch.setattr(doctor, "alone_and_padded", lambda model, texts: (np.ones((1, 2)), np.ones((1, 2))))
    found = {f.check: f.level for f in doctor.check_model(hybrid, ["a b"] * 3, ["a"] * 2)}
    assert found["one: documents: active terms"] == "fail"
    assert "one: queries: special tokens" in found


def test_an_index_of_sparse_vectors_is_examined(sparse_model, toy, tmp_path):
    vectors = stages.encode_docs(sparse_model, toy, tmp_path / "vectors", model_path=tmp_path, progress=False)
    index = stages.build_index(vectors, tmp_path, "sparse", {}, progress=False)
    stored = sparse_vectors.read(vectors).rows().toarray()
    at = {doc.text: row for row, doc in enumerate(toy.docs)}

    def examined(one, model=sparse_model, encode=lambda texts, side: stored[[at[t] for t in texts]]):
        found = checkup.check_index(one, model, toy, None, encode=encode)
        return {f.check: f for f in found}

    found = examined(index)
    assert "fail" not in {f.level for f in found.values()}, found
    assert {"fingerprints", "stored vectors: sinks", "stored vectors"} <= set(found)
    # Without the directory of vectors beside it, the index's own postings are read.
    (tmp_path / "vectors").rename(tmp_path / "elsewhere")
    assert examined(index) == found
    other = sparse_model._replace(fingerprint="another")
    changed = examined(index, other, lambda texts, side: np.roll(stored[: len(texts)], 7, axis=1))
    assert {"fingerprints", "stored vectors"} <= {c for c, f in changed.items() if f.level == "fail"}
    poor = index._replace(manifest={**index.manifest, "options": {"measured_recall@10": 0.5}})
    assert examined(poor)["recall@10"].level == "fail"
