import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.pruning import check_k, keep_ratio, top_k

# Few distinct values, so that ties are the rule; negative ones and zeros too.
VALUES = np.random.default_rng(0).integers(-2, 4, (2, 3, 12)).astype(np.float64)


def by_hand(row, k):
    kept = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
    return [x if i in kept else 0.0 for i, x in enumerate(row)]


@pytest.mark.parametrize("k", [1, 5, 11])
def test_top_k_keeps_k_and_of_equals_the_first(k):
    expected = np.apply_along_axis(by_hand, -1, VALUES, k)
    # jit, vmap and the gradient in one program.
    values, gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda x: jnp.sum(top_k(x, k) ** 2))))(
        jnp.asarray(VALUES, jnp.float32)
    )
    np.testing.assert_array_equal(gradient, 2 * expected)
    np.testing.assert_allclose(values, (expected**2).sum((-1, -2)))


def test_top_k_in_other_precisions():
    for dtype in (jnp.bfloat16, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            got = jax.jit(lambda x: top_k(x, 4))(jnp.asarray(VALUES, dtype))
            assert got.dtype == dtype
            np.testing.assert_array_equal(
                np.asarray(got, np.float64), np.apply_along_axis(by_hand, -1, VALUES, 4)
            )


def test_top_k_beyond_the_row_changes_nothing_and_nan_is_not_hidden():
    np.testing.assert_array_equal(top_k(jnp.asarray(VALUES, jnp.float32), 12), VALUES)
    assert jnp.isnan(top_k(jnp.array([0.0, jnp.nan, 1.0]), 2)[1])


def test_keep_ratio():
    values = jnp.array([[4.0, 2.0, 2.1, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 9.0, 9.0, 5.0]])
    got, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(keep_ratio(x, 0.5))))(values)
    kept = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]])
    np.testing.assert_array_equal(gradient, kept)
    np.testing.assert_allclose(got, (kept * values).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: top_k(x, 0), "top_k is 0"),
        (lambda x: check_k(2.5), "top_k is 2.5"),
        (lambda x: keep_ratio(x, 1.0), "keep_ratio is 1.0"),
        (lambda x: keep_ratio(x, -0.1), "keep_ratio is -0.1"),
    ],
)
def test_what_cannot_be_kept_is_said(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(jnp.ones(3))
