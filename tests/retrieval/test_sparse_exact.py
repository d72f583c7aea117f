"""Exact sparse search equals scipy's product and a stable sort, on CPU and jitted, ties included."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from jaxir.retrieval import sparse_exact, sparse_vectors
from tests.retrieval import toy

DIM = 300


def reference(queries, docs, k):
    """(scores, rows) by scipy's product and a stable sort; what shares no term is not found."""
    scores = (queries @ docs.T).toarray()
    scores[scores == 0] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, rows, axis=1)
    return best, np.where(np.isfinite(best), rows, -1)


def ragged(n, seed):
    """Rows of 0 to 12 terms, many of them equal, with few different weights: ties everywhere."""
    rng = np.random.default_rng(seed)
    rows = toy.random_rows(n, DIM, 12, seed).toarray()
    rows[rng.random(n) < 0.1] = 0
    rows[rng.random(rows.shape) < 0.5] = 0
    rows = np.ceil(2 * rows) / 2
    return csr_array(rows[rng.integers(0, n, n)].astype(np.float32))


@pytest.fixture(scope="module")
def docs():
    return ragged(700, 0)


@pytest.fixture(scope="module")
def queries():
    rows = ragged(40, 1)
    rows.data *= np.float32(0.37)
    return rows


@pytest.fixture(scope="module", params=["float32", "float16"])
def postings(request, docs, tmp_path_factory):
    path = tmp_path_factory.mktemp("postings")
    ids = [str(i) for i in range(docs.shape[0])]
    sparse_vectors.write(path / "v", docs, ids, dtype=request.param)
    (path / "arrays").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_exact, "BLOCK_DOCS", 256)
        facts = sparse_exact.build(sparse_vectors.read(path / "v"), path / "arrays", progress=False)
        assert facts["empty"] == (np.diff(docs.indptr) == 0).sum() > 0
        yield sparse_exact.open(path / "arrays", *docs.shape, facts["nnz"])


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_equals_scipy(postings, docs, queries, backend):
    search = sparse_exact.searcher(postings, backend=backend)
    for k in (1, 20, 700) if backend == "numpy" else (20,):
        scores, rows = search(queries, k)
        expected = reference(queries, docs, k)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(scores, expected[0], rtol=1e-6)
        assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert (rows == -1).any()  # of queries that share a term with few documents
    assert (rows[np.diff(queries.indptr) == 0] == -1).all()


@pytest.mark.parametrize("shared", [0.0, np.inf])
def test_few_queries_many_queries_none(postings, docs, queries, shared, monkeypatch):
    monkeypatch.setattr(sparse_exact, "COMPARED", 20_000)  # several blocks of few queries, one of many
    monkeypatch.setattr(sparse_exact, "SHARED", shared)  # in groups, and as scipy multiplies
    search = sparse_exact.searcher(postings, backend="numpy")
    many = queries[np.arange(300) % 40]  # more than are compared at once
    np.testing.assert_array_equal(search(many, 9)[1], reference(queries, docs, 9)[1][np.arange(300) % 40])
    for short in (0, 10**9):
        monkeypatch.setattr(sparse_exact, "SHORT", short)
        np.testing.assert_array_equal(search(queries[[3]], 9)[1], reference(queries, docs, 9)[1][[3]])
    assert search(queries[:0], 9)[0].shape == (0, 9)


def test_documents_that_do_not_fit_on_the_device_are_streamed(postings, queries):
    whole = sparse_exact.searcher(postings, backend="numpy")(queries, 20)
    parts = sparse_exact.searcher(postings, backend="jax", device_bytes=1 << 15)
    for _ in range(2):
        np.testing.assert_array_equal(parts(queries, 20)[1], whole[1])
