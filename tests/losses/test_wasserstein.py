"""The distance of batches, which is one number of all rows, and that of lists."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxir import losses

from .reference import random_lists


def softmax(s, where):
    e = np.where(where, np.exp(np.where(where, s, 0)), 0)
    return e / e.sum(-1, keepdims=True)


def reference(s, y, where):
    """By roots of the covariances' product's eigenvalues."""
    kept = (where & (y > 0)).any(-1)
    x, z = softmax(s[kept], where[kept]), softmax(y[kept], where[kept])
    cx, cz = np.cov(x.T), np.cov(z.T)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(cx @ cz).real, 0))
    return ((x.mean(0) - z.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cz) - 2 * roots.sum()


@functools.cache
def graded():
    return jax.jit(jax.value_and_grad(lambda s, y, w: losses.wasserstein(s, y, where=w)))


@pytest.mark.parametrize("shape", [(8, 6), (8, 16)], ids=str)
def test_equals_the_reference_and_finite_differences_in_float64(shape):
    with jax.enable_x64(True):
        s, y, w, _ = random_lists(b=shape[0], n=shape[1])
        value, gradient = graded()(jnp.asarray(s), jnp.asarray(y), jnp.asarray(w))
        np.testing.assert_allclose(value, reference(s, y, w), rtol=1e-6, atol=1e-7)
        steps = 1e-5 * np.random.default_rng(0).normal(size=(6, *s.shape))
        f = jax.jit(jax.vmap(lambda x: losses.wasserstein(x, jnp.asarray(y), where=jnp.asarray(w))))
        slope = (f(jnp.asarray(s + steps)) - f(jnp.asarray(s - steps))) / 2
        np.testing.assert_allclose((steps * gradient).sum((1, 2)), slope, rtol=1e-4, atol=1e-12)


def test_what_it_sees_and_what_it_does_not():
    s, y, w, _ = (jnp.asarray(x) for x in random_lists())
    y, whole = y.at[:, 0].set(3), w | True
    fn = lambda s, y, w=whole: graded()(s, y, w)[0]
    np.testing.assert_allclose(fn(y, y), 0, atol=1e-6)
    np.testing.assert_allclose(fn(s, y[::-1]), fn(s, y), rtol=1e-4)  # whose labels they are, it cannot see
    np.testing.assert_allclose(fn(y, jnp.maximum(s, 0.1)), fn(jnp.maximum(s, 0.1), y), rtol=1e-4)
    # One row, or one row many times, has a mean alone.
    one = np.square(softmax(np.asarray(s[0]), True) - softmax(np.asarray(y[0]), True)).sum()
    np.testing.assert_allclose(fn(s[:1], y[:1], whole[:1]), one, rtol=1e-5)
    np.testing.assert_allclose(fn(s[:1].repeat(8, 0), y[:1].repeat(8, 0)), one, rtol=1e-4)


def test_masks_and_extreme_scores():
    s, y, w, _ = (jnp.asarray(x) for x in random_lists())
    value, _ = graded()(s, y, w)
    found, gradient = graded()(jnp.where(w, s, jnp.nan), y, w)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    assert np.isfinite(gradient).all()
    for size in (1e4, 0.0):
        assert all(np.isfinite(x).all() for x in graded()(s * size, y, w))
    nothing, gradient = graded()(s, y, w & False)
    assert nothing == 0
    assert (gradient == 0).all()
    assert np.isnan(graded()(s.at[0, 0].set(jnp.nan), y, w)[0])


@pytest.mark.parametrize("devices", [2, 8])
def test_does_not_depend_on_the_number_of_devices(devices):
    s, y, w, _ = (jnp.asarray(x) for x in random_lists())
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    f = lambda s, y, w: losses.wasserstein(s, y, where=w, axis_name="data")
    sharded = jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())
    value, gradient = jax.jit(jax.value_and_grad(sharded))(s, y, w)
    one, one_gradient = graded()(s, y, w)
    np.testing.assert_allclose(value, one, rtol=1e-5)
    np.testing.assert_allclose(gradient, one_gradient, rtol=1e-4, atol=1e-7)


def test_in_one_dimension_mass_moves_by_places():
    sure = jnp.asarray([[0.0, 0.0, 60.0]])
    y = jnp.asarray([[60.0, 30.0, 0.0]])
    np.testing.assert_allclose(losses.wasserstein_1d(sure, y), 2, rtol=1e-5)
    np.testing.assert_allclose(losses.wasserstein_1d(y, y), 0, atol=1e-6)
