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

from .reference import LISTS, MATRICES, PARTS, REGULARISERS, SAMPLED, SCHEDULES, random_lists

cases = pytest.mark.parametrize("case", LISTS, ids=str)
NAMES = {case.name: case for case in LISTS}
# All end in the same reduction: these try it in every way, the others (whose programs cost seconds) over one
# mesh, as terms of an objective (tests/objectives/test_everywhere.py).
FEW = {name: case for name, case in NAMES.items() if case.loss in (losses.softmax, losses.kl_divergence)}


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
    covered = {c.loss.__name__ for c in LISTS} | {c.name.partition("-")[0] for c in REGULARISERS}
    assert set(losses.__all__) == covered | MATRICES | SAMPLED | SCHEDULES | PARTS


@functools.cache
def compiled(name):
    """Value, gradient and each list's own value: one program for all tests of a case."""
    case = NAMES[name]

    def fn(*data):
        value, gradient = jax.value_and_grad(functools.partial(call, case))(*data)
        return value, gradient, call(case, *data, reduce_fn=None)

    return jax.jit(fn)


@cases
def test_equals_the_reference_and_finite_differences_in_float64(case):
    with jax.enable_x64(True):
        data = arrays(jnp.float64)
        values = expected(case, *map(np.asarray, data))
        value, gradient, each = compiled(case.name)(*data)
        np.testing.assert_allclose(value, mean(values), rtol=1e-12)
        np.testing.assert_allclose(each, [v or 0.0 for v in values], rtol=1e-12, atol=1e-14)
        s, *rest = data
        # Along a few directions, by the program that there is.
        for step in 1e-5 * np.random.default_rng(1).normal(size=(4, *s.shape)):
            up, down = (compiled(case.name)(s + x, *rest)[0] for x in (step, -step))
            np.testing.assert_allclose((gradient * step).sum(), (up - down) / 2, rtol=1e-5, atol=1e-13)


@cases
def test_masked_items_are_as_good_as_absent(case):
    s, y, w, t = arrays()
    fn = compiled(case.name)
    clean = fn(s, y, w, t)
    # Whatever stands in a masked slot, NaN and infinity included, changes nothing.
    for junk in (jnp.nan, jnp.inf, -jnp.inf):
        dirty = [jnp.where(w, x, junk) for x in (s, t)]
        value, gradient, _ = fn(dirty[0], y, w, dirty[1])
        np.testing.assert_allclose(value, clean[0], rtol=1e-6)
        assert np.isfinite(gradient).all()
        assert (np.asarray(gradient)[~np.asarray(w)] == 0).all()
    # One list, cut to its real items.
    i = 4
    keep = np.asarray(w[i])
    cut = [x[i][keep] for x in (s, y, w, t)]
    np.testing.assert_allclose(
        jax.jit(functools.partial(call, case))(*cut), clean[2][i], rtol=1e-5, atol=1e-6
    )


@cases
def test_nothing_valid_nan_and_extreme_scores(case):
    s, y, w, t = arrays()
    fn = compiled(case.name)
    value, gradient, _ = fn(s, y, w & False, t)
    assert value == 0
    assert (gradient == 0).all()
    assert np.isnan(fn(s.at[0, 0].set(jnp.nan), y, w, t)[0])
    for size in (1e4, 1e-30, 0.0):
        value, gradient, _ = fn(s * size, y, w, t)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@cases
def test_weights_reductions_transformations_and_batch_axes(case):
    data = arrays()
    weights = jnp.arange(8.0)
    value, _, each = compiled(case.name)(*data)
    fn = functools.partial(call, case)

    @jax.jit
    def others(*data):
        return {
            "weighted": fn(*data, weights=weights, reduce_fn=jnp.sum),
            "sum": fn(*data, reduce_fn=jnp.sum) if case.name in FEW else jnp.sum(each),
            "mapped": jax.vmap(lambda *a: fn(*a, reduce_fn=None))(*data),
            "folded": fn(*(x.reshape(2, 4, -1) for x in data)),
        }

    got = others(*data)
    np.testing.assert_allclose(got["weighted"], jnp.sum(weights * each), rtol=1e-5)
    np.testing.assert_allclose(got["sum"], jnp.sum(each), rtol=1e-5)
    np.testing.assert_allclose(got["mapped"], each, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["folded"], value, rtol=1e-6)
    if case.name in FEW:
        np.testing.assert_allclose(fn(*data), value, rtol=1e-6)  # without jit


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_value_and_gradient_do_not_depend_on_the_number_of_devices(devices):
    """Many cases in one program."""
    s, *rest = arrays()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def sharded(case, x):
        f = lambda *a: call(case, *a, axis_name="data")
        return jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())(x, *rest)

    grads = {n: jax.value_and_grad(functools.partial(sharded, c)) for n, c in FEW.items()}
    for name, (value, gradient) in jax.jit(lambda x: {n: fn(x) for n, fn in grads.items()})(s).items():
        one, one_gradient, _ = compiled(name)(s, *rest)
        np.testing.assert_allclose(value, one, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gradient, one_gradient, rtol=1e-5, atol=1e-7, err_msg=name)


def test_under_vmap_and_pmap_with_an_axis_name():
    data = arrays()
    shards = [x.reshape(4, 2, -1) for x in data]
    f = lambda *a: {n: call(c, *a, axis_name="data") for n, c in FEW.items()}
    mapped = jax.jit(jax.vmap(f, axis_name="data"))(*shards), jax.pmap(f, axis_name="data")(*shards)
    for name in FEW:
        for found in mapped:
            np.testing.assert_allclose(found[name], compiled(name)(*data)[0], rtol=1e-5, err_msg=name)


@cases
def test_shapes_that_differ_are_an_error(case):
    s, y, w, t = arrays()
    # Where shapes are checked at run time, as in these tests, the annotation speaks first.
    with pytest.raises((InputError, jaxtyping.TypeCheckError)):
        call(case, s, y[:, :3], w, t)


def test_ensemble_of_teachers():
    """Per query, per teacher, over its real candidates: what does not matter, and what does."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=(4, 5, 3))
    where = rng.random((4, 5)) < 0.7
    where[:, :2] = True
    where[3, 1:] = False
    t[2, :, 1] = 0.5  # a teacher that says nothing
    fn = jax.jit(lambda t, w: losses.ensemble(t, where=w, scale=30.0))
    got = fn(jnp.asarray(np.where(where[..., None], t, np.nan), jnp.float32), jnp.asarray(where))
    for i in range(4):
        kept = t[i][where[i]]
        spread = kept.max(0) - kept.min(0)
        each = (kept - kept.min(0)) / (spread + 1e-6)
        np.testing.assert_allclose(got[i][where[i]], 30 * each.mean(-1), rtol=1e-4, atol=1e-5)
    assert (got[~where] == 0).all()
    w = jnp.asarray(where)
    np.testing.assert_allclose(fn(jnp.asarray(7 * t - 3, jnp.float32), w), got, atol=1e-3)
    one = jnp.asarray(t[..., :1], jnp.float32)
    np.testing.assert_allclose(
        fn(jnp.repeat(one, 3, -1), w), fn(jnp.concatenate([one] * 3, -1) * 2, w), atol=1e-3
    )
    best = np.where(where, t[..., 0], -np.inf).argmax(-1)
    np.testing.assert_allclose(fn(jnp.repeat(one, 3, -1), w)[np.arange(3), best[:3]], 30, rtol=1e-4)
    with pytest.raises(InputError, match="scale"):
        losses.ensemble(one, scale=0.0)
    with pytest.raises((InputError, jaxtyping.TypeCheckError)):
        losses.ensemble(one, where=w[:2])
