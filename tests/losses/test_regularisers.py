"""Properties of every regulariser, and the closed forms of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxir import losses
from jaxir.checks import InputError

from .reference import REGULARISERS

cases = pytest.mark.parametrize("case", REGULARISERS, ids=str)


def data(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(8, 5)) * (rng.random((8, 5)) < 0.6)
    where = np.array([True, True, False, True, False, False, True, True])
    return jnp.asarray(w, dtype), jnp.asarray(where)


@cases
def test_value_and_gradient_in_float64(case):
    with jax.enable_x64(True):
        w, where = data(jnp.float64)
        np.testing.assert_allclose(
            case.loss(w, where=where), case.reference(np.asarray(w), np.asarray(where)), rtol=1e-12
        )
        gradient = jax.grad(lambda x: case.loss(x, where=where))(w)
        for i in np.ndindex(*w.shape):
            if w[i] != 0:  # |w| has no derivative at 0
                step = jnp.zeros_like(w).at[i].set(1e-6)
                low, high = case.loss(w - step, where=where), case.loss(w + step, where=where)
                np.testing.assert_allclose(gradient[i], (high - low) / 2e-6, rtol=1e-5, atol=1e-9)


@cases
def test_masks_extremes_and_transformations(case):
    w, where = data()
    value = case.loss(w, where=where)
    np.testing.assert_allclose(case.loss(w[where]), value, rtol=1e-6)
    dirty = jnp.where(where[:, None], w, jnp.nan)
    got, gradient = jax.value_and_grad(lambda x: case.loss(x, where=where))(dirty)
    np.testing.assert_allclose(got, value, rtol=1e-6)
    assert np.isfinite(gradient).all()
    nothing, gradient = jax.value_and_grad(lambda x: case.loss(x, where=where & False))(w)
    assert nothing == 0
    assert (gradient == 0).all()
    assert np.isfinite(jax.grad(lambda x: case.loss(x, where=where))(w * 1e12)).all()
    assert np.isnan(case.loss(w.at[0, 0].set(jnp.nan), where=where))
    np.testing.assert_allclose(jax.jit(lambda x: case.loss(x, where=where))(w), value, rtol=1e-6)
    both = jax.vmap(lambda x: case.loss(x, where=where))(jnp.stack([w, 2 * w]))
    np.testing.assert_allclose(both, [value, case.loss(2 * w, where=where)], rtol=1e-6)
    folded = case.loss(w.reshape(2, 4, 5), where=where.reshape(2, 4))
    np.testing.assert_allclose(folded, value, rtol=1e-6)


@cases
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_the_global_batch_whatever_the_number_of_devices(case, devices):
    w, where = data()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def sharded(w):
        f = lambda w, where: case.loss(w, where=where, axis_name="data")
        return jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())(w, where)

    value, gradient = jax.jit(jax.value_and_grad(sharded))(w)
    one, one_gradient = jax.value_and_grad(lambda w: case.loss(w, where=where))(w)
    np.testing.assert_allclose(value, one, rtol=1e-5)
    np.testing.assert_allclose(gradient, one_gradient, rtol=1e-5, atol=1e-7)
    shards = w.reshape(4, 2, 5), where.reshape(4, 2)
    over = lambda w, where: case.loss(w, where=where, axis_name="data")
    np.testing.assert_allclose(jax.vmap(over, axis_name="data")(*shards), one, rtol=1e-5)
    np.testing.assert_allclose(jax.pmap(over, axis_name="data")(*shards), one, rtol=1e-5)


def test_flops_closed_forms():
    w = jnp.abs(data()[0])
    value = losses.flops(w)
    pairs = jnp.mean(w @ w.T)  # mean over all ordered pairs, i = k included
    np.testing.assert_allclose(value, pairs, rtol=1e-6)
    np.testing.assert_allclose(losses.flops(3 * w), 9 * value, rtol=1e-6)
    np.testing.assert_allclose(losses.flops(jnp.concatenate([w, w])), value, rtol=1e-6)
    np.testing.assert_allclose(losses.flops(w[:1]), jnp.sum(w[0] ** 2), rtol=1e-6)
    # Zero rows that count as real divide it by 4: the sign of a mask that is not applied.
    np.testing.assert_allclose(losses.flops(jnp.concatenate([w, 0 * w])), value / 4, rtol=1e-6)
    gradient = jax.grad(losses.flops)(w + 0.1)
    np.testing.assert_allclose(gradient, 2 / 8 * jnp.mean(w + 0.1, 0)[None] * jnp.ones((8, 1)), rtol=1e-5)


@pytest.mark.parametrize(("ramp", "half"), [(losses.quadratic_ramp, 0.25), (losses.linear_ramp, 0.5)])
def test_ramps(ramp, half):
    weight = ramp(peak=3.0, steps=100)
    np.testing.assert_allclose([weight(t) for t in (0, 50, 100, 10**6)], [0, 3 * half, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(weight)(jnp.int32(50)), 3 * half, rtol=1e-6)
    assert ramp(peak=3.0, steps=0)(0) == 3.0
    with pytest.raises(InputError, match="0 or more"):
        ramp(peak=1.0, steps=-1)
