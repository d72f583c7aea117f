import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from jaxir.checks import InputError
from jaxir.evaluation import sparsity


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 9), st.integers(1, 12), st.floats(0, 1))
def test_the_summary_equals_dense_arithmetic(seed, q, n, v, share):
    rng = np.random.default_rng(seed)
    queries, docs = (rng.random((r, v)) * (rng.random((r, v)) < share) for r in (q, n))
    found = sparsity.summary(csr_array(queries), csr_array(docs))
    pairs = [((a > 0) & (b > 0)).sum() for a in queries for b in docs]
    np.testing.assert_allclose(found["FLOPS"], np.mean(pairs), atol=1e-12)
    assert found["active query terms"] == pytest.approx((queries > 0).sum() / q)
    assert found["active document terms"] == pytest.approx((docs > 0).sum() / n)
    assert found["empty queries"] == (queries.sum(1) == 0).sum()
    assert found["empty documents"] == (docs.sum(1) == 0).sum()
    assert found["unused terms"] == pytest.approx((docs.sum(0) == 0).mean())
    assert found["largest list"] == pytest.approx((docs > 0).mean(0).max())
    assert found["postings"] == (docs > 0).sum()


def test_stored_zeros_are_not_active():
    stored = csr_array((np.array([1.0, 0.0, 2.0]), np.array([0, 1, 1]), np.array([0, 2, 3])), shape=(2, 3))
    assert sparsity.active(stored).tolist() == [1, 1]
    assert sparsity.flops(stored, stored) == pytest.approx(0.5)  # 1/2 1/2 + 1/2 1/2
    assert sparsity.csr_bytes(stored) == 3 * 8 + stored.indices.nbytes + stored.indptr.nbytes


def test_two_vocabularies_and_nothing_to_measure():
    one = csr_array(np.eye(3))
    with pytest.raises(InputError, match="the queries have 3 terms and the documents 4"):
        sparsity.summary(one, csr_array(np.eye(4)))
    with pytest.raises(InputError, match="no queries or no documents"):
        sparsity.summary(csr_array((0, 3)), one)
