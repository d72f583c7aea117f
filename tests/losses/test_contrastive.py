"""Closed forms of the softmax family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rax
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxir import losses
from jaxir.checks import InputError

from .reference import random_lists
from .reference import softmax as softmax_reference


def one_hot(b, m=None):
    return jnp.eye(b, m or b)


def test_identical_scores_give_log_of_the_number_of_candidates():
    first = lambda m: jnp.asarray(np.eye(m)[:1].repeat(3, 0))
    values = jax.jit(lambda: [losses.softmax(jnp.full((3, m), 2.5), first(m)) for m in (1, 2, 7)])()
    np.testing.assert_allclose(values, np.log([1, 2, 7]), rtol=1e-6, atol=1e-7)


def test_orthonormal_pairs():
    n, tau = 5, 0.2
    value = losses.softmax(jnp.eye(n), jnp.eye(n), temperature=tau)
    np.testing.assert_allclose(value, np.log1p((n - 1) * np.exp(-1 / tau)), rtol=1e-5)


def test_gradient_is_probabilities_minus_targets_over_b():
    s, y, *_ = random_lists()
    s, y = jnp.asarray(s, jnp.float32), jnp.asarray(y, jnp.float32).at[3, 0].set(1)
    gradient = jax.jit(jax.grad(losses.softmax))(s, y)
    target = y / y.sum(-1, keepdims=True)
    np.testing.assert_allclose(gradient, (jax.nn.softmax(s) - target) / len(s), atol=1e-6)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-6)


@given(shift=st.floats(-50, 50), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_constant_per_list_changes_nothing(shift, seed):
    s, y, w, _ = random_lists(seed)
    s, y, w = jnp.asarray(s), jnp.asarray(y), jnp.asarray(w)
    np.testing.assert_allclose(
        losses.softmax(s + shift, y, where=w), losses.softmax(s, y, where=w), rtol=2e-4, atol=1e-5
    )


def test_equals_rax_and_optax_where_they_mean_the_same():
    s, y, w, _ = (jnp.asarray(x) for x in random_lists())
    np.testing.assert_allclose(
        losses.softmax(s, y, where=w, positives="soft_targets_raw"),
        rax.softmax_loss(s, y, where=w),
        rtol=1e-5,
    )
    target = optax.smooth_labels(one_hot(8, 6).at[6:, 0].set(1), 0.1)
    np.testing.assert_allclose(
        losses.softmax(s, one_hot(8, 6).at[6:, 0].set(1), label_smoothing=0.1),
        optax.softmax_cross_entropy(s, target).mean(),
        rtol=1e-6,
    )


def test_readings_agree_for_one_positive():
    s, *_ = random_lists()
    s, y = jnp.asarray(s), one_hot(8, 6).at[6:, 0].set(1)
    values = [
        losses.softmax(s, y, positives=p)
        for p in ("soft_targets", "mean_log", "log_sum", "decoupled", "soft_targets_raw")
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_temperature_can_be_learned():
    s, y, w, _ = (jnp.asarray(x) for x in random_lists())
    f = lambda t: losses.softmax(s, y, where=w, temperature=t)
    step = 1e-3
    difference = (f(jnp.float32(0.5 + step)) - f(jnp.float32(0.5 - step))) / (2 * step)
    np.testing.assert_allclose(jax.grad(f)(jnp.float32(0.5)), difference, rtol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"positives": "mean_logs"}, "Did you mean 'mean_log'"),
        ({"smoothing": "some"}, "unknown smoothing"),
        ({"label_smoothing": 1.0}, r"in \[0, 1\)"),
        ({"label_smoothing": 0.1, "positives": "log_sum"}, "target distribution"),
    ],
)
def test_options_that_make_no_sense(options, message):
    for fn in (losses.softmax, losses.symmetric_softmax):
        with pytest.raises(InputError, match=message):
            fn(jnp.zeros((2, 2)), jnp.eye(2), **options)


# -- both directions


def symmetric_reference(s, y, where, **options):
    """Per row: half its own softmax, half the mean over its positives of their columns' softmax."""
    out = []
    for i in range(len(s)):
        if not where[i].any():
            out.append(None)
            continue
        value = 0.5 * softmax_reference(s[i], y[i], where[i], **options)
        pos = [m for m in range(s.shape[1]) if where[i, m] and y[i, m] > 0]
        total = sum(y[i, m] for m in pos)
        for m in pos:
            column = softmax_reference(s[:, m], y[:, m], where[:, m], **options)
            value += 0.5 * y[i, m] / total * column
        out.append(value)
    return out


OPTIONS = [
    {},
    {"positives": "log_sum"},
    {"positives": "decoupled", "temperature": 0.3},
    {"label_smoothing": 0.1},
]


def test_symmetric_equals_the_reference_in_float64():
    with jax.enable_x64(True):
        s, y, w, _ = random_lists(b=6, n=9)
        found = compiled()(*map(jnp.asarray, (s, y, w)))
        for options, (value, _, _) in zip(OPTIONS, found):
            kept = [v for v in symmetric_reference(s, y, w, **options) if v is not None]
            np.testing.assert_allclose(value, sum(kept) / len(kept), rtol=1e-12)


def test_symmetric_is_clip_for_square_pairs():
    s = jax.random.normal(jax.random.key(0), (5, 5))
    labels = jnp.arange(5)
    clip = (
        optax.softmax_cross_entropy_with_integer_labels(s, labels).mean()
        + optax.softmax_cross_entropy_with_integer_labels(s.T, labels).mean()
    ) / 2
    np.testing.assert_allclose(losses.symmetric_softmax(s, jnp.eye(5)), clip, rtol=1e-6)
    np.testing.assert_allclose(losses.symmetric_softmax(s.T, jnp.eye(5)), clip, rtol=1e-6)


@functools.cache
def compiled():
    """Value, gradient and each query's own value, of each of the options: one program."""

    def fn(s, y, w):
        out = []
        for options in OPTIONS:
            f = lambda s, options=options: losses.symmetric_softmax(s, y, where=w, **options)
            each = losses.symmetric_softmax(s, y, where=w, reduce_fn=None, **options)
            out.append((*jax.value_and_grad(f)(s), each))
        return out

    return jax.jit(fn)


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_symmetric_does_not_depend_on_the_number_of_devices(devices):
    s, y, w, _ = (jnp.asarray(x) for x in random_lists(b=8, n=16))
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))

    def sharded(options, s):
        def f(s, y, w):
            return losses.symmetric_softmax(s, y, where=w, axis_name="data", **options)

        return jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P())(s, y, w)

    grads = [jax.value_and_grad(functools.partial(sharded, o)) for o in OPTIONS]
    for found, expected in zip(jax.jit(lambda s: [f(s) for f in grads])(s), compiled()(s, y, w)):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-7)


def test_symmetric_with_masks_extremes_and_transformations():
    s, y, w, _ = (jnp.asarray(x) for x in random_lists(b=6, n=9))
    (value, _, each), *_ = compiled()(s, y, w)
    (got, gradient, _), *_ = compiled()(jnp.where(w, s, jnp.nan), y, w)
    np.testing.assert_allclose(got, value, rtol=1e-6)
    assert np.isfinite(gradient).all()
    for size in (1e4, 0.0):
        assert all(np.isfinite(gradient).all() for _, gradient, _ in compiled()(s * size, y, w))
    for nothing, gradient, _ in compiled()(s, y, w & False):
        assert nothing == 0
        assert (gradient == 0).all()
    assert np.isnan(compiled()(s.at[0, 0].set(jnp.nan), y, w)[0][0])

    @jax.jit
    def others(s):
        over = lambda s, y, w: losses.symmetric_softmax(s, y, where=w, axis_name="i")
        return (
            jax.vmap(lambda x: losses.symmetric_softmax(x, y, where=w))(jnp.stack([s, 2 * s])),
            losses.symmetric_softmax(s, y, where=w, reduce_fn=jnp.sum),
            jax.vmap(over, axis_name="i")(*(x.reshape(3, 2, -1) for x in (s, y, w))),
        )

    mapped, total, shards = others(s)
    np.testing.assert_allclose(mapped, [value, compiled()(2 * s, y, w)[0][0]], rtol=1e-6)
    np.testing.assert_allclose(each.sum(), total, rtol=1e-6)
    np.testing.assert_allclose(shards, value, rtol=1e-5)
    np.testing.assert_allclose(losses.symmetric_softmax(s, y, where=w), value, rtol=1e-6)  # without jit
