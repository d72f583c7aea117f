"""Closed forms of the losses that learn a teacher's scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir import losses
from jaxir.checks import InputError


def test_log_cosh_is_the_divergence_from_a_fair_coin():
    t = jnp.linspace(-6, 6, 13)

    @jax.jit
    def fn(t):
        each = lambda x, **how: losses.log_cosh(x[:, None], teacher=jnp.zeros((13, 1)), reduce_fn=None, **how)
        return each(t), each(t * 1e-3), each(t * 1e6)

    value, small, large = fn(t)
    p = jax.nn.sigmoid(t / 2)
    coin = 4 * (0.5 * np.log(0.5 / p) + 0.5 * np.log(0.5 / (1 - p)))
    np.testing.assert_allclose(value, coin, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(small, (t * 1e-3) ** 2 / 8, rtol=1e-4, atol=1e-14)
    np.testing.assert_allclose(large, np.abs(t) * 1e6, rtol=1e-5, atol=1e-4)


def test_dual_supervision_is_the_two_matrices_of_tas_b():
    b = 4
    keys = jax.random.split(jax.random.key(0), 4)
    sp, sn, tp, tn = (np.asarray(jax.random.normal(k, (b, b))) for k in keys)
    flat = lambda p, n: jnp.asarray(np.stack([p, n], -1).reshape(b, 2 * b))
    labels = jnp.asarray(np.stack([np.eye(b), np.zeros((b, b))], -1).reshape(b, 2 * b))

    @jax.jit
    def fn(s, t):
        shift = jnp.arange(4.0)[:, None]
        how = dict(teacher=t, group=2)
        return [losses.in_batch_margin_mse(x, labels, **how) for x in (s, s + shift, t - shift)]

    found, shifted, equal = fn(flat(sp, sn), flat(tp, tn))
    own = lambda s: np.diag(s)[:, None]
    off = ~np.eye(b, dtype=bool)
    of = lambda s, t: np.square((own(sp) - s) - (own(tp) - t))[off].mean()
    np.testing.assert_allclose(found, (of(sp, tp) + of(sn, tn)) / 2, rtol=1e-5)
    np.testing.assert_allclose(shifted, found, rtol=1e-4)
    np.testing.assert_allclose(equal, 0, atol=1e-6)


def test_gradients_of_margins():
    s, t = jnp.asarray([[3.0, 1.0]]), jnp.asarray([[9.0, 4.0]])

    @jax.jit
    def fn(s):
        margin = lambda pairs: jax.grad(lambda x: losses.margin_mse(x, teacher=t, pairs=pairs))(s)
        two = dict(teacher=t, temperature=0.5, teacher_temperature=3.0)
        swapped = dict(teacher=s, temperature=3.0, teacher_temperature=0.5, direction="reverse")
        return (
            margin("list"),
            margin("all_pairs"),
            losses.kl_divergence(s, **two),
            losses.kl_divergence(t, **swapped),
        )

    of_list, of_all, forward, reverse = fn(s)
    np.testing.assert_allclose(of_list, [[-6.0, 6.0]])
    np.testing.assert_allclose(of_all, [[-3.0, 3.0]])  # half of the four pairs are i = j
    np.testing.assert_allclose(forward, reverse, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("margin_mse", {"pairs": "all"}, "unknown pairs"),
        ("kl_divergence", {"direction": "backward"}, "unknown direction"),
        ("log_cosh", {"knee": 0.0}, "knee is 0.0"),
        ("in_batch_margin_mse", {"group": 0}, "group is 0"),
    ],
)
def test_options_that_make_no_sense(name, options, message):
    with pytest.raises(InputError, match=message):
        getattr(losses, name)(jnp.zeros((2, 2)), jnp.eye(2), teacher=jnp.eye(2), **options)
