import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models import heads

MASK = np.array(
    [
        [1, 1, 1, 0, 0],  # padded on the right
        [0, 0, 1, 1, 1],  # on the left
        [0, 1, 1, 0, 0],  # on both sides
        [1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0],  # nothing real
    ],
    bool,
)


def expected(name, rows):
    if len(rows) == 0:
        return np.zeros(rows.shape[-1])
    numbers = np.arange(1, len(rows) + 1)[:, None]
    return {
        "cls": rows[0],
        "last": rows[-1],
        "mean": rows.mean(0),
        "max": rows.max(0),
        "mean_sqrt": rows.sum(0) / len(rows) ** 0.5,
        "weighted_mean": (numbers * rows).sum(0) / numbers.sum(),
    }[name]


@pytest.mark.parametrize("name", heads.POOLINGS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_pooling_reads_real_tokens_only(name, dtype):
    hidden = np.random.default_rng(0).normal(size=(5, 5, 3))
    hidden[~MASK] = np.nan
    hidden = jnp.asarray(hidden, dtype)
    got = jax.jit(heads.POOLINGS[name])(hidden, jnp.asarray(MASK))
    assert got.dtype == jnp.float32
    for row, states, real in zip(got, np.asarray(hidden, np.float32), MASK):
        np.testing.assert_allclose(row, expected(name, states[real]), rtol=2e-6)


@pytest.mark.parametrize("name", heads.POOLINGS)
def test_gradient_goes_to_real_tokens_only(name):
    hidden = np.random.default_rng(1).normal(size=(5, 5, 3))
    hidden[~MASK] = np.inf
    mask = jnp.asarray(MASK)
    loss = lambda h: jnp.sum(jnp.sin(heads.POOLINGS[name](h, mask)))
    gradient = jax.grad(loss)(jnp.asarray(hidden, jnp.float32))
    assert np.isfinite(gradient).all()
    assert (gradient[~MASK] == 0).all()
    assert (np.abs(gradient).sum(axis=(1, 2)) > 0).tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("name", heads.POOLINGS)
def test_leading_axes_and_vmap(name):
    hidden = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5, 5, 3)), jnp.float32)
    mask = jnp.broadcast_to(jnp.asarray(MASK), (2, 5, 5))
    pool = heads.POOLINGS[name]
    np.testing.assert_array_equal(pool(hidden, mask), jax.vmap(pool)(hidden, mask))


def test_several_poolings_are_concatenated():
    hidden = jnp.asarray(np.random.default_rng(3).normal(size=(5, 3)), jnp.float32)
    mask = jnp.asarray(MASK[0])
    pool, widths = heads.find_pooling(["mean", "cls"])
    assert widths == 2
    np.testing.assert_array_equal(pool(hidden, mask), [*heads.mean(hidden, mask), *heads.cls(hidden, mask)])


@pytest.mark.parametrize(("pooling", "says"), [("men", "mean"), (("mean", "first"), "first"), ((), "empty")])
def test_unknown_pooling(pooling, says):
    with pytest.raises(InputError, match=says):
        heads.find_pooling(pooling)
