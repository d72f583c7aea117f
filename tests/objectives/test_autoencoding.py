"""Against the formulas in float64, and what each term must not do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.sparse_autoencoder import sparse_autoencoder
from jaxir.objectives.autoencoding import Pairs, auxiliary, csr, nonnegative_contrast, paired_contrast

B, D, H, K = 8, 6, 16, 2
RNG = np.random.default_rng(0)
MADE = sparse_autoencoder(D, H, scale=1.5)
PARAMS = {
    "encoder": RNG.normal(size=(H, D)).astype(np.float32),
    "pre_bias": RNG.normal(size=D).astype(np.float32),
    "latent_bias": RNG.normal(size=H).astype(np.float32),
}
X, Q, DOCS = RNG.normal(size=(3, B, D)).astype(np.float32)
IDS = dict(
    query_id=np.array([0, 1, 2, 2, 4, 5, 6, 7], np.int32), doc_id=np.array([0, 1, 2, 3, 3, 5, 6, 6], np.int32)
)
# Unused for so many steps: none, three (fewer than aux_k), all latents dead.
UNUSED = np.stack([np.zeros(H), np.where(np.arange(H) % 5 == 1, 30, 29), np.full(H, 99)]).astype(np.int32)


def codes(pre, k):
    out = np.zeros_like(pre)
    order = np.argsort(-pre, axis=1, kind="stable")[:, :k]
    np.put_along_axis(out, order, np.maximum(np.take_along_axis(pre, order, 1), 0), 1)
    return out


def cosines(a, b):
    unit = lambda z: z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-300)
    return unit(a) @ unit(b).T


def cross_entropy(scores, where, target):
    s = np.where(where, scores / 0.2, -np.inf)
    return float(np.mean(np.log(np.exp(s).sum(1)) - s[np.arange(len(s)), target]))


def pairs_reference(query, docs):
    scores, b = cosines(query, docs), np.arange(len(query))
    q, d = IDS["query_id"], IDS["doc_id"]
    relevant = (d[:, None] == d) | (q[:, None] == q)
    return cross_entropy(scores, ~relevant | np.eye(len(b), dtype=bool), b)


def views_reference(one, two):
    both = np.concatenate([one, two])
    n = len(both)
    return cross_entropy(cosines(both, both), ~np.eye(n, dtype=bool), (np.arange(n) + n // 2) % n)


def reference(unused, paired):
    p = {name: value.astype(np.float64) for name, value in PARAMS.items()}
    seen = np.concatenate([X, Q]) if paired else X
    scaled = lambda x: 1.5 * x - p["pre_bias"]
    pre_of = lambda x: scaled(x) @ p["encoder"].T + p["latent_bias"]
    pre, target = pre_of(seen), scaled(seen)
    z = codes(pre, K)
    e = target - z @ p["encoder"]
    wide = np.mean((target - codes(pre, 4 * K) @ p["encoder"]) ** 2)
    dead = unused >= 30
    revived = codes(np.where(dead, pre, 0), 5) @ p["encoder"]
    aux = np.mean((revived - e) ** 2) / np.mean((e.mean(0) - e) ** 2) if dead.any() else 0.0
    used = z
    if paired:
        docs = codes(pre_of(DOCS), K)
        contrast, used = pairs_reference(z[B:], docs), np.concatenate([z, docs])
    else:
        contrast = views_reference(z, z)
    loss = np.mean(e**2) + wide / 8 + aux / 32 + 0.1 * contrast
    parts = dict(loss=loss, error=np.mean(e**2), wider_error=wide, auxiliary=aux, contrast=contrast)
    parts |= dict(dead=dead.sum(), active=(z > 0).sum() / len(z))
    return parts, np.where((used > 1e-5).any(0), 0, unused + 1)


@pytest.mark.parametrize("paired", [False, True])
def test_the_loss_and_the_counts_of_steps_are_their_definitions(paired):
    pairs = Pairs(jnp.asarray(Q), jnp.asarray(DOCS), *map(jnp.asarray, IDS.values())) if paired else None

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0,))  # nothing, something and everything dead in one program
    def run(unused):
        return csr(MADE, jax.tree.map(jnp.asarray, PARAMS), jnp.asarray(X), unused, k=K, aux_k=5, pairs=pairs)

    loss, metrics, counts = jax.device_get(run(UNUSED))
    for row, unused in enumerate(UNUSED):
        expected, steps = reference(unused, paired)
        assert loss[row] == metrics["loss"][row]
        for name, value in expected.items():
            np.testing.assert_allclose(metrics[name][row], value, rtol=2e-5, err_msg=name)
        # One step is one step: not one for each of the passes over documents, queries and 4 k.
        np.testing.assert_array_equal(counts[row], steps)


def test_contrast_of_views_and_pairs_and_the_constant_positive_of_equal_views():
    one, two = np.abs(RNG.normal(size=(2, B, H))).astype(np.float32)
    one[3] = 0  # a code without any entry has cosine 0 with all

    @jax.jit
    def run(one, two):
        ids = {name: jnp.asarray(value) for name, value in IDS.items()}
        equal, gradient = jax.value_and_grad(nonnegative_contrast)(one)
        return nonnegative_contrast(one, two), equal, gradient, paired_contrast(one, two, **ids)

    views, equal, gradient, pairs = jax.device_get(run(one, two))
    np.testing.assert_allclose(
        views, views_reference(one.astype(np.float64), two.astype(np.float64)), rtol=1e-5
    )
    full = np.delete(one, 3, 0).astype(np.float64)
    s = np.exp(cosines(one.astype(np.float64), one.astype(np.float64)) / 0.2)
    diagonal = np.exp(np.where(np.arange(B) == 3, 0, 1) / 0.2)
    by_hand = np.mean(np.log(2 * (s.sum(1) - np.diag(s)) + diagonal) - np.log(diagonal))
    np.testing.assert_allclose(equal, by_hand, rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[3].any()
    np.testing.assert_allclose(
        pairs, pairs_reference(one.astype(np.float64), two.astype(np.float64)), rtol=1e-5
    )
    between = cosines(full, full)
    assert (between >= 0).all()
    assert (between <= 1 + 1e-12).all()


def test_auxiliary_is_1_at_the_mean_0_where_nothing_is_left_and_stops_the_residual():
    e = jnp.asarray(X)

    @jax.jit
    def run(e):
        mean = jnp.broadcast_to(e.mean(0), e.shape)
        same = jnp.zeros_like(e)
        loss = lambda e, r: auxiliary(e, r)
        return (
            auxiliary(e, mean),
            jax.grad(loss, argnums=(0, 1))(e, jnp.sin(e)),
            jax.value_and_grad(loss, argnums=1)(same, same + 1),
        )

    at_mean, (to_residual, to_revived), (nothing, its_gradient) = jax.device_get(run(e))
    assert at_mean == pytest.approx(1)
    assert not to_residual.any()
    assert to_revived.any()
    assert nothing == 0
    assert not its_gradient.any()


def test_vectors_of_another_width():
    with pytest.raises(InputError, match="5 dimensions, the autoencoder 6"):
        csr(MADE, {}, jnp.ones((2, 5)), jnp.zeros(H, jnp.int32), k=1)
