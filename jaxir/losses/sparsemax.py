"""Sparsemax, the projection onto the simplex, and its loss: probabilities that can be exactly 0."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def sparsemax(
    scores: Float[Array, "*batch n"], where: Bool[Array, "*batch n"] | None = None
) -> Float[Array, "*batch n"]:
    r"""argmin over distributions p of ||p - z||^2, along the last axis: max(z - tau, 0).

    tau = (sum_{j <= k} z_(j) - 1) / k of the k largest scores, k the largest number with
    1 + k z_(k) > sum_{j <= k} z_(j). Adding a constant changes nothing; for two scores p_1 = (t + 1) / 2
    where their difference t is within [-1, 1]. The derivative is Diag(s) - s s^T / |S|, s the support.
    What is not real gets 0; a list without a real entry is all 0.

    References: Martins and Astudillo 2016 (arXiv:1602.02068).

    >>> import jax.numpy as jnp
    >>> sparsemax(jnp.array([1.0, 0.5, -3.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    check_same_shape(scores=scores, where=where)
    return _sparsemax(scores, jnp.ones(scores.shape, bool) if where is None else where)


def sparsemax_loss(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""-<q, z> + 1/2 sum_{j in S} (z_j^2 - tau^2) + 1/2 ||q||^2, q = labels / sum(labels), S the support.

    Its gradient is sparsemax(z) - q: a negative whose score is more than 1 below gets none at all. For one
    positive the loss is 0 exactly where its score is at least 1 above all others, and for two candidates it
    is the modified Huber loss of their difference t: 0 above 1, -t below -1, (t - 1)^2 / 4 between.
    Convex, never negative. Divide scores by a temperature to set what a difference of 1 is.

    Args:
      scores: [..., n].
      labels: [..., n], above 0 is a positive; grades are normalised to a distribution.
      where: [..., n] True = real. A row without a real entry is left out of the mean; one with real entries
        and no positive is 0 and counts.
      weights: [...] one factor per query.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ.

    References: Martins and Astudillo 2016 (arXiv:1602.02068).

    >>> import jax.numpy as jnp
    >>> float(sparsemax_loss(jnp.array([0.5, 0.0]), jnp.array([1.0, 0.0])))
    0.0625
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    target = jnp.where(real & (labels > 0), labels, 0).astype(scores.dtype)
    total = jnp.sum(target, axis=-1, keepdims=True)
    target = target / jnp.where(total > 0, total, 1)
    z = _shifted(scores, real)
    each = _conjugate(z, real) - jnp.sum(target * z, axis=-1) + jnp.sum(jnp.square(target), axis=-1) / 2
    return reduce(
        jnp.where(total[..., 0] > 0, each, 0),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


@jax.custom_jvp
def _sparsemax(scores: Array, real: Array) -> Array:
    # Less than 1 below the largest, or out of the support: clipped there, sums cannot lose digits or
    # overflow, and what is not real sorts behind all that could be in.
    z = jnp.where(real, jnp.maximum(_shifted(scores, real), -2), -2)
    order = jnp.flip(jnp.sort(z, axis=-1), axis=-1)
    rank = jnp.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    sums = jnp.cumsum(order, axis=-1)
    size = jnp.sum(1 + rank * order > sums, axis=-1, keepdims=True)
    tau = (jnp.take_along_axis(sums, jnp.maximum(size - 1, 0), axis=-1) - 1) / jnp.maximum(size, 1)
    return jnp.where(real, jnp.maximum(z - tau, 0), 0)


@_sparsemax.defjvp
def _(primals, tangents):
    (scores, real), (change, _) = primals, tangents
    p = _sparsemax(scores, real)
    support = p > 0
    mean = jnp.sum(jnp.where(support, change, 0), axis=-1, keepdims=True)
    mean = mean / jnp.maximum(jnp.sum(support, axis=-1, keepdims=True), 1)
    return p, jnp.where(support, change - mean, 0)


@jax.custom_jvp
def _conjugate(z: Array, real: Array) -> Array:
    """max over p of <p, z> - 1/2 ||p||^2 = 1/2 sum_S (z^2 - tau^2) + 1/2; its gradient is the best p."""
    p = _sparsemax(z, real)
    return jnp.sum(p * (z - p / 2), axis=-1)


@_conjugate.defjvp
def _(primals, tangents):
    (z, real), (change, _) = primals, tangents
    return _conjugate(z, real), jnp.sum(_sparsemax(z, real) * change, axis=-1)


def _shifted(scores: Array, real: Array) -> Array:
    """Scores less the largest real one of their list; 0 where not real."""
    low = jnp.finfo(scores.dtype).min
    top = jnp.max(jnp.where(real, jax.lax.stop_gradient(scores), low), axis=-1, keepdims=True)
    return jnp.where(real, jnp.where(real, scores, 0) - jnp.where(top > low, top, 0), 0)
