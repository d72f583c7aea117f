"""Properties of every regulariser, and the closed forms of each."""

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

from .reference import IDF, REGULARISERS, df_weight, random_rows

cases = pytest.mark.parametrize("case", REGULARISERS, ids=str)
NAMES = {case.name: case for case in REGULARISERS}


def data(dtype=jnp.float32):
    w, where = random_rows()
    return jnp.asarray(w, dtype), jnp.asarray(where)


@functools.cache
def compiled(name):
    """Value and gradient: one program for all tests of a case."""
    return jax.jit(jax.value_and_grad(lambda w, where: NAMES[name].loss(w, where=where)))


@cases
def test_value_and_gradient_in_float64(case):
    with jax.enable_x64(True):
        w, where = data(jnp.float64)
        value, gradient = compiled(case.name)(w, where)
        np.testing.assert_allclose(value, case.reference(np.asarray(w), np.asarray(where)), rtol=1e-12)
        steps = 1e-6 * np.eye(w.size).reshape(-1, *w.shape)
        at = np.flatnonzero(np.asarray(w))  # |w| has no derivative at 0
        f = jax.jit(jax.vmap(lambda w: case.loss(w, where=where)))
        difference = (f(w + steps[at]) - f(w - steps[at])) / 2e-6
        np.testing.assert_allclose(gradient.ravel()[at], difference, rtol=1e-5, atol=1e-8)


@cases
def test_masks_and_extremes(case):
    w, where = data()
    fn = compiled(case.name)
    value, _ = fn(w, where)
    got, gradient = fn(jnp.where(where[..., None], w, jnp.nan), where)
    np.testing.assert_allclose(got, value, rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~np.asarray(where)] == 0).all()
    nothing, gradient = fn(w, where & False)
    assert nothing == 0
    assert (gradient == 0).all()
    for size in (1e12, 0.0):
        large, gradient = fn(w * size, where)
        assert np.isfinite(large)
        assert np.isfinite(gradient).all()
    assert np.isnan(fn(w.at[0, 0].set(jnp.nan), where)[0])


def test_without_rows_that_are_not_real_and_under_vmap():
    w, where = data()

    @jax.jit
    def all_of(w, where):
        pooled = {n: c for n, c in NAMES.items() if n.endswith("pooled")}
        return {
            "kept": {n: c.loss(w[np.flatnonzero(random_rows()[1])]) for n, c in pooled.items()},
            "flat": {n: c.loss(w, where=where.reshape(-1)) for n, c in pooled.items()},
            "mapped": {
                n: jax.vmap(lambda x, c=c: c.loss(x, where=where.reshape(8, 3)))(
                    jnp.stack([w, 2 * w]).reshape(2, 8, 3, 5)
                )
                for n, c in NAMES.items()
            },
        }

    got = all_of(w.reshape(-1, 5), where)
    for name in NAMES:
        np.testing.assert_allclose(got["mapped"][name][0], compiled(name)(w, where)[0], rtol=1e-5)
        np.testing.assert_allclose(got["mapped"][name][1], compiled(name)(2 * w, where)[0], rtol=1e-5)
        if name.endswith("pooled"):
            np.testing.assert_allclose(got["kept"][name], got["mapped"][name][0], rtol=1e-5)
            np.testing.assert_allclose(got["flat"][name], got["mapped"][name][0], rtol=1e-5)


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_the_global_batch_whatever_the_number_of_devices(devices):
    """All cases in one program."""
    w, where = data()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def sharded(case, w):
        f = lambda w, where: case.loss(w, where=where, axis_name="data")
        return jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())(w, where)

    grads = {n: jax.value_and_grad(functools.partial(sharded, c)) for n, c in NAMES.items()}
    found = jax.jit(lambda w: {n: fn(w) for n, fn in grads.items()})(w)
    for name, (value, gradient) in found.items():
        one, one_gradient = compiled(name)(w, where)
        np.testing.assert_allclose(value, one, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gradient, one_gradient, rtol=1e-5, atol=1e-7, err_msg=name)


def test_under_vmap_and_pmap_with_an_axis_name_and_for_each_device_by_itself():
    w, where = data()
    shards = w.reshape(4, 2, 3, 5), where.reshape(4, 2, 3)

    def values(w, where):
        how = dict(where=where, axis_name="data")
        whole = {n: c.loss(w, **how) for n, c in NAMES.items()}
        return whole, {n: c.loss(w, **how, across="device") for n, c in NAMES.items()}

    whole, apart = jax.jit(jax.vmap(values, axis_name="data"))(*shards)
    same, _ = jax.pmap(values, axis_name="data")(*shards)
    for name in NAMES:
        one = compiled(name)(w, where)[0]
        np.testing.assert_allclose(whole[name], one, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(same[name], one, rtol=1e-5, err_msg=name)
        each = [compiled(name)(*(x[i] for x in shards))[0] for i in range(4)]
        np.testing.assert_allclose(apart[name], np.mean(each), rtol=1e-5, err_msg=name)
    assert not np.allclose(apart["flops-pooled"], whole["flops-pooled"])


def test_bad_words_and_shapes():
    w, _ = data()
    for options, message in (
        ({"groups": "slots"}, "value of groups"),
        ({"across": "devices"}, "Did you mean 'device'"),
    ):
        with pytest.raises(InputError, match=message):
            losses.flops(w, **options)
    with pytest.raises(InputError, match="queries have no slots"):
        losses.l1(w[:, 0], groups="sum_over_slots")
    # Where shapes are checked at run time, as in these tests, the annotation speaks first.
    with pytest.raises((InputError, jaxtyping.TypeCheckError), match="idf"):
        losses.idf_flops(w, idf=jnp.ones(4))
    with pytest.raises(InputError, match="alpha of df_flops is 1"):
        losses.df_flops(w, df=jnp.ones(5), alpha=1.0)
    with pytest.raises(InputError, match="floor"):
        losses.anti_zero(w, floor=0.0)


def test_flops_closed_forms():
    with jax.enable_x64(True):
        w = jnp.abs(data(jnp.float64)[0].reshape(24, 5)) + 0.1 * (jnp.arange(5) > 1)
        f = losses.flops
        value, mass = f(w), losses.l1(w)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-9)
        close(value, jnp.mean(w @ w.T))  # over all ordered pairs, i = k included
        close(f(3 * w), 9 * value)
        close(f(jnp.concatenate([w, w])), value)
        close(f(w[:1]), jnp.sum(w[0] ** 2))
        # Zero rows that count as real divide it by 4: the sign of a mask that is not applied.
        close(f(jnp.concatenate([w, 0 * w])), value / 4)
        close(jax.grad(f)(w + 1), 2 / 24 * jnp.mean(w + 1, 0)[None] * jnp.ones((24, 1)))
        assert mass**2 / 5 <= value <= jnp.mean(jnp.sum(w**2, -1))
        close(f(jnp.ones((3, 5))), losses.l1(jnp.ones((3, 5))) ** 2 / 5)


def test_l0_mask_closed_forms():
    w = jnp.asarray([[1.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [3.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    f = lambda w, t: jax.value_and_grad(lambda w: losses.l0_mask_flops(w, threshold=t))(w)
    plain = losses.flops(w)
    assert f(w, 4)[0] == 0
    assert f(w, -1)[0] == plain
    value, gradient = f(w, 2)
    assert 0 < value <= plain
    np.testing.assert_allclose(value, (2**2 + 2**2 + 2**2 + 1) / 4**2)  # all four rows count
    # A row of exactly the threshold's number, and one below, get nothing.
    assert (gradient[jnp.array([0, 2])] == 0).all()
    assert (gradient[jnp.array([1, 3])] != 0).any()


def test_idf_inside_the_loss_and_in_the_match():
    w = jnp.abs(data()[0]).reshape(24, 5)
    idf = jnp.asarray(IDF).at[2].set(4.0)
    inside = losses.idf_flops(idf * w, idf=idf)  # of the weights that a document brings into the match
    np.testing.assert_allclose(losses.idf_match_flops(w), inside, rtol=1e-6)
    np.testing.assert_allclose(losses.idf_match_flops(w), losses.flops(w), rtol=0)
    np.testing.assert_allclose(losses.idf_flops(w, idf=jnp.ones(5)), losses.flops(w), rtol=1e-6)
    np.testing.assert_allclose(losses.idf_flops(w, idf=2 * idf), losses.idf_flops(w, idf=idf) / 4, rtol=1e-6)
    # What matches nothing costs nothing, and idf is given, not learned.
    slope = jax.grad(lambda w, i: losses.idf_flops(w, idf=i), argnums=(0, 1))(w, jnp.asarray(IDF))
    assert (slope[0][:, 2] == 0).all()
    assert (slope[1] == 0).all()


def test_weights_by_document_frequency():
    w = jnp.abs(data()[0]).reshape(24, 5)
    np.testing.assert_allclose(losses.df_flops(w, df=jnp.ones(5)), losses.flops(w), rtol=1e-6)
    x = jnp.asarray([0.0, 1e-9, 0.01, 0.05, 0.1, 0.2, 0.9, 1.0])
    for alpha, beta in ((0.1, 10.0), (0.3, 2.5)):
        weight = losses.df_weight(x, alpha, beta)
        np.testing.assert_allclose(
            weight, [df_weight(float(i), alpha, beta) for i in x], rtol=2e-4, atol=1e-7
        )
        assert (jnp.diff(weight[1:-2]) > 0).all()  # the last ones round to 1
        np.testing.assert_allclose(
            losses.df_weight(jnp.asarray([alpha, 1.0]), alpha, beta), [0.5, 1], rtol=1e-4
        )
    assert (jax.grad(lambda d: losses.df_flops(w, df=d))(jnp.full(5, 0.1)) == 0).all()


def test_anti_zero_where_everything_is_zero():
    value, gradient = jax.value_and_grad(losses.anti_zero)(jnp.zeros((2, 3)))
    np.testing.assert_allclose(value, 1e6, rtol=1e-5)
    assert (gradient == 0).all()
    gradient = jax.grad(losses.anti_zero)(jnp.full((2, 3), 0.01))
    assert (gradient < 0).all()  # away from zero


@pytest.mark.parametrize(("ramp", "half"), [(losses.quadratic_ramp, 0.25), (losses.linear_ramp, 0.5)])
def test_ramps(ramp, half):
    weight = ramp(peak=3.0, steps=100)
    np.testing.assert_allclose([weight(t) for t in (0, 50, 100, 10**6)], [0, 3 * half, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(weight)(jnp.int32(50)), 3 * half, rtol=1e-6)
    assert ramp(peak=3.0, steps=0)(0) == 3.0
    with pytest.raises(InputError, match="0 or more"):
        ramp(peak=1.0, steps=-1)
