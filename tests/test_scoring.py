import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir import scoring


def test_all_pairs_and_listed():
    q, d = jax.random.normal(jax.random.key(0), (2, 4, 7))
    np.testing.assert_allclose(scoring.dot(q, d), np.asarray(q) @ np.asarray(d).T, rtol=1e-5)
    lists = jax.random.normal(jax.random.key(1), (4, 3, 7))
    np.testing.assert_allclose(scoring.listed(q, lists), jnp.einsum("bd,bnd->bn", q, lists), rtol=1e-5)
    stacked = scoring.dot(jnp.stack([q, d]), jnp.stack([d, q]))
    np.testing.assert_allclose(stacked[1], scoring.dot(d, q), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_cosine_is_scale_free(size):
    q, d = jax.random.normal(jax.random.key(0), (2, 4, 7))
    a, b = np.asarray(q, np.float64), np.asarray(d, np.float64)
    exact = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(scoring.cosine(q * size, d), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnp.diag(scoring.cosine(q, q)), 1, rtol=1e-6)


def test_a_zero_vector_has_score_zero_and_no_gradient():
    value, gradient = jax.value_and_grad(lambda x: scoring.cosine(x, jnp.ones((2, 3))).sum())(
        jnp.zeros((2, 3))
    )
    assert value == 0
    assert (gradient == 0).all()


def test_gradient_of_normalize_is_tangent():
    x = jax.random.normal(jax.random.key(0), (5,))
    jacobian = jax.jacobian(scoring.normalize)(x)
    n = x / jnp.linalg.norm(x)
    np.testing.assert_allclose(jacobian, (jnp.eye(5) - jnp.outer(n, n)) / jnp.linalg.norm(x), atol=1e-6)
