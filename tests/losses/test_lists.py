"""Properties that every loss over lists has, for every loss over lists that there is."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxir import losses
from jaxir.checks import InputError

from .reference import LISTS, MATRICES, REGULARISERS, SCHEDULES, random_lists

cases = pytest.mark.parametrize("case", LISTS, ids=str)


def call(case, scores, labels, where, teacher, **more):
    options = {**case.options, **more}
    if case.teacher:
        options["teacher"] = teacher
    return case.loss(scores, labels, where=where, **options)


def expected(case, scores, labels, where, teacher):
    """Per list: the reference's value, or None for a list that is left out of the mean."""
    out = []
    for s, y, w, t in zip(scores, labels, where, teacher):
        more = {"teacher": t} if case.teacher else {}
        out.append(case.reference(s, y, w, **more, **case.options) if w.any() else None)
    return out


def mean(values):
    kept = [v for v in values if v is not None]
    return sum(kept) / len(kept)


def arrays(dtype=jnp.float32, **kw):
    s, y, w, t = random_lists(**kw)
    return jnp.asarray(s, dtype), jnp.asarray(y, dtype), jnp.asarray(w), jnp.asarray(t, dtype)


def test_every_public_loss_is_covered():
    covered = {c.loss.__name__ for c in LISTS + REGULARISERS} | MATRICES | SCHEDULES
    assert set(losses.__all__) == covered


@cases
def test_value_equals_the_reference_in_float64(case):
    with jax.enable_x64(True):
        data = arrays(jnp.float64)
        values = expected(case, *map(np.asarray, data))
        np.testing.assert_allclose(call(case, *data), mean(values), rtol=1e-12)
        each = call(case, *data, reduce_fn=None)
        np.testing.assert_allclose(each, [v or 0.0 for v in values], rtol=1e-12, atol=1e-14)
        total = call(case, *data, reduce_fn=jnp.sum)
        np.testing.assert_allclose(total, sum(v or 0.0 for v in values), rtol=1e-12)


@cases
def test_gradient_equals_finite_differences_in_float64(case):
    with jax.enable_x64(True):
        s, *rest = arrays(jnp.float64)
        f = lambda x: call(case, x, *rest)
        steps = 1e-5 * jnp.eye(s.size).reshape(s.size, *s.shape)
        difference = jax.vmap(lambda d: (f(s + d) - f(s - d)) / 2e-5)(steps)
        np.testing.assert_allclose(jax.grad(f)(s).ravel(), difference, rtol=1e-5, atol=1e-9)


@cases
def test_masked_items_are_as_good_as_absent(case):
    s, y, w, t = arrays()
    # Whatever stands in a masked slot, NaN and infinity included, changes nothing.
    for junk in (jnp.nan, jnp.inf, -jnp.inf):
        dirty = [jnp.where(w, x, junk) for x in (s, t)]
        f = functools.partial(call, case)
        value, gradient = jax.value_and_grad(f)(dirty[0], y, w, dirty[1])
        np.testing.assert_allclose(value, call(case, s, y, w, t), rtol=1e-6)
        assert np.isfinite(gradient).all()
        assert (np.asarray(gradient)[~np.asarray(w)] == 0).all()
    # One list, cut to its real items.
    i = 4
    keep = np.asarray(w[i])
    cut = [x[i][keep] for x in (s, y, w, t)]
    np.testing.assert_allclose(call(case, *cut), call(case, s[i], y[i], w[i], t[i]), rtol=1e-5, atol=1e-6)


@cases
def test_nothing_valid_gives_zero_and_no_gradient(case):
    s, y, w, t = arrays()
    value, gradient = jax.value_and_grad(lambda x: call(case, x, y, w & False, t))(s)
    assert value == 0
    assert (gradient == 0).all()


@cases
def test_a_nan_in_a_real_slot_is_not_hidden(case):
    s, y, w, t = arrays()
    assert np.isnan(call(case, s.at[0, 0].set(jnp.nan), y, w, t))


@cases
@pytest.mark.parametrize("size", [1e4, 1e-30, 0.0])
def test_extreme_scores(case, size):
    s, y, w, t = arrays()
    value, gradient = jax.value_and_grad(lambda x: call(case, x, y, w, t))(s * size)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@cases
def test_weights_multiply_each_list(case):
    s, y, w, t = arrays()
    weights = jnp.arange(8.0)
    each = call(case, s, y, w, t, reduce_fn=None)
    total = call(case, s, y, w, t, weights=weights, reduce_fn=jnp.sum)
    np.testing.assert_allclose(total, jnp.sum(weights * each), rtol=1e-5)


@cases
def test_transformations_and_batch_axes(case):
    data = arrays()
    value = call(case, *data)
    np.testing.assert_allclose(jax.jit(lambda *a: call(case, *a))(*data), value, rtol=1e-6)
    each = call(case, *data, reduce_fn=None)
    np.testing.assert_allclose(
        jax.vmap(lambda *a: call(case, *a, reduce_fn=None))(*data), each, rtol=1e-5, atol=1e-6
    )
    folded = [x.reshape(2, 4, -1) for x in data]
    np.testing.assert_allclose(call(case, *folded), value, rtol=1e-6)


@cases
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_value_and_gradient_do_not_depend_on_the_number_of_devices(case, devices):
    s, *rest = arrays()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def sharded(x):
        f = lambda *a: call(case, *a, axis_name="data")
        return jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())(x, *rest)

    value, gradient = jax.jit(jax.value_and_grad(sharded))(s)
    one, one_gradient = jax.value_and_grad(lambda x: call(case, x, *rest))(s)
    np.testing.assert_allclose(value, one, rtol=1e-5)
    np.testing.assert_allclose(gradient, one_gradient, rtol=1e-5, atol=1e-7)


@cases
def test_under_vmap_and_pmap_with_an_axis_name(case):
    data = arrays()
    shards = [x.reshape(4, 2, -1) for x in data]
    f = lambda *a: call(case, *a, axis_name="data")
    value = call(case, *data)
    np.testing.assert_allclose(jax.vmap(f, axis_name="data")(*shards), value, rtol=1e-5)
    np.testing.assert_allclose(jax.pmap(f, axis_name="data")(*shards), value, rtol=1e-5)


@cases
def test_shapes_that_differ_are_an_error(case):
    s, y, w, t = arrays()
    # Where shapes are checked at run time, as in these tests, the annotation speaks first.
    with pytest.raises((InputError, jaxtyping.TypeCheckError)):
        call(case, s, y[:, :3], w, t)
