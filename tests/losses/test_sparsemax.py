"""Closed forms of sparsemax and its loss."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxir import losses

from .reference import sparsemax as reference


def test_sparsemax_is_the_projection_and_its_jacobian():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(6, 7))
    where = rng.random((6, 7)) < 0.7
    where[:, 0] = True
    where[5] = False
    with jax.enable_x64(True):
        fn = jax.jit(lambda z, w: (losses.sparsemax(z, w), jax.vmap(jax.jacobian(losses.sparsemax))(z, w)))
        p, jacobian = fn(jnp.asarray(np.where(where, z, np.nan)), jnp.asarray(where))
        shifted, _ = fn(jnp.asarray(z + 1e3), jnp.asarray(where))
        for i in range(5):
            np.testing.assert_allclose(p[i][where[i]], reference(z[i][where[i]]), atol=1e-12)
        np.testing.assert_allclose(p.sum(-1), [1, 1, 1, 1, 1, 0], atol=1e-12)
        assert (p >= 0).all()
        assert (p[~where] == 0).all()
        np.testing.assert_allclose(shifted, p, atol=1e-10)
        support = np.asarray(p > 0, float)
        count = np.maximum(support.sum(-1), 1)[:, None, None]
        outer = support[:, :, None] * support[:, None]
        np.testing.assert_allclose(jacobian, support[:, None] * np.eye(7) - outer / count, atol=1e-12)


def test_the_loss_of_two_candidates_is_modified_huber():
    t = jnp.linspace(-3, 3, 25)
    scores = jnp.stack([t + 5, jnp.full_like(t, 5)], -1)
    value, p = jax.jit(lambda s: (losses.sparsemax_loss(s, jnp.eye(2)[:1].repeat(25, 0), reduce_fn=None),
                                  losses.sparsemax(s)))(scores)  # fmt: skip
    huber = np.where(t >= 1, 0, np.where(t <= -1, -t, (t - 1) ** 2 / 4))
    np.testing.assert_allclose(value, huber, atol=1e-6)
    np.testing.assert_allclose(p[:, 0], np.clip((t + 1) / 2, 0, 1), atol=1e-6)


def test_the_gradient_is_sparsemax_minus_the_targets():
    z = jnp.asarray([[2.0, 1.5, 0.2, -4.0], [3.0, 1.9, 1.0, 0.0]])
    y = jnp.asarray([[1.0, 0.0, 3.0, 0.0], [1.0, 0.0, 0.0, 0.0]])

    @jax.jit
    def fn(z):
        f = lambda z: losses.sparsemax_loss(z, y, reduce_fn=None)
        total = lambda z: jnp.sum(f(z))
        return f(z), jax.grad(total)(z), jax.hessian(total)(z), jax.jacobian(losses.sparsemax)(z)

    each, gradient, hessian, jacobian = fn(z)
    np.testing.assert_allclose(gradient, losses.sparsemax(z) - y / y.sum(-1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(hessian, jacobian, atol=1e-6)
    assert each[1] == 0  # 1.1 above the next
    assert each[0] > 0
