import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rax

from jaxir import reduce


def test_mean_is_of_sums_and_counts_not_of_means():
    x, w = jnp.arange(8.0), jnp.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    shards = jax.vmap(lambda x, w: reduce.masked_mean(x, w, "i"), axis_name="i")
    np.testing.assert_allclose(shards(x.reshape(2, 4), w.reshape(2, 4)), (0 + 4 + 5 + 6) / 4)


def test_a_reduction_of_unknown_meaning_over_shards_is_refused():
    with pytest.raises(ValueError, match=r"use jnp\.mean"):
        reduce.over("data", jnp.max)
    assert reduce.over(None, jnp.max) is jnp.max
    assert reduce.over("data", None) is None


def test_makes_raxs_losses_global():
    s, y = jax.random.normal(jax.random.key(0), (2, 8, 5))
    y, w = jnp.abs(y), jax.random.bernoulli(jax.random.key(1), 0.6, (8, 5))
    for loss in (rax.softmax_loss, rax.pairwise_hinge_loss, rax.listmle_loss, rax.pointwise_mse_loss):
        one = loss(s, y, where=w)
        f = lambda s, y, w, loss=loss: loss(s, y, where=w, reduce_fn=reduce.over("i"))
        shards = [x.reshape(4, 2, 5) for x in (s, y, w)]
        np.testing.assert_allclose(jax.vmap(f, axis_name="i")(*shards), one, rtol=1e-5)
