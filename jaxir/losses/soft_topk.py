"""A differentiable top k, and the loss that asks for all positives to be in it: for queries with many."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import InputError, check_positive, check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def soft_topk(
    scores: Float[Array, "*batch n"],
    k: int,
    *,
    steepness: float = 2.0,
    where: Bool[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch n"]:
    r"""p_i = sigmoid(steepness (s_i + t)) with the t for which they sum to k.

    Adding a number to all scores changes nothing; a large steepness gives ones for the k highest. The
    derivative is diag(v) - v v^T / sum v, v = steepness p (1 - p). Lists of at most k real candidates have
    all of them in: 1, without a gradient. What is not real gets 0.

    Raises:
      InputError: k below 1, steepness not above 0, shapes that differ.

    >>> import jax.numpy as jnp
    >>> p = soft_topk(jnp.array([2.0, 1.0, 0.0]), 2, steepness=1.0)
    >>> [round(float(x), 2) for x in p]
    [0.86, 0.69, 0.45]
    """
    real = jnp.ones(scores.shape, bool) if where is None else where
    return jnp.where(real, jnp.exp(_log_in(scores, real, k, steepness)), 0)


def soft_topk_loss(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    k: int = 5,
    steepness: float = 2.0,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""-(1/|P|) sum_{p in P} log sigmoid(steepness (s_p + t)), t as in :func:`soft_topk`.

    Positives need not be first, only among the k first: a query with more positives than k can never have
    them all in. The threshold t is found by bisection and has its implicit gradient.

    Args:
      scores: [..., n].
      labels: [..., n], above 0 is a positive.
      where: [..., n] True = real. A row without a real candidate is left out of the mean; one with real
        candidates and no positive is 0 and counts, as is one of at most k real candidates.
      weights: [...] one factor per query.
      k: how many are in.
      steepness: alpha of the paper.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, k below 1, steepness not above 0.

    References: Gupta et al. 2024, DEXML (ICLR).
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    positive = real & (labels > 0)
    each = jnp.where(positive, -_log_in(scores, real, k, steepness), 0)
    return reduce(
        jnp.sum(each, axis=-1) / jnp.maximum(jnp.sum(positive, axis=-1), 1),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def _log_in(scores: Array, real: Array, k: int, steepness: float) -> Array:
    """log p of every real candidate."""
    check_same_shape(scores=scores, where=real)
    check_positive("steepness", steepness)
    if k < 1:
        raise InputError(f"k is {k}, it must be at least 1")
    x = jnp.where(real, steepness * scores, 0)
    whole = jnp.sum(real, axis=-1, keepdims=True) <= k
    log_p = jax.nn.log_sigmoid(x + _threshold(k, x, real))
    return jnp.where(whole & ~jnp.isnan(x), 0, log_p)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _threshold(k: int, x: Array, real: Array) -> Array:
    """t [..., 1] with sum_i sigmoid(x_i + t) = k."""
    limits = jnp.finfo(x.dtype)
    far = 10 + jnp.log(x.shape[-1])
    low = -jnp.max(jnp.where(real, x, limits.min), axis=-1, keepdims=True) - far
    high = -jnp.min(jnp.where(real, x, limits.max), axis=-1, keepdims=True) + far

    def halve(_, ends):
        low, high = ends
        middle = low + (high - low) / 2
        count = jnp.sum(jnp.where(real, jax.nn.sigmoid(x + middle), 0), axis=-1, keepdims=True)
        return jnp.where(count < k, middle, low), jnp.where(count < k, high, middle)

    low, high = jax.lax.fori_loop(0, limits.nmant + 10, halve, (low, high))
    return low + (high - low) / 2


@_threshold.defjvp
def _(k, primals, tangents):
    (x, real), (change, _) = primals, tangents
    t = _threshold(k, x, real)
    # dt = -sum v dx / sum v, v = p (1 - p): its shares by logarithms, where all v are too small for numbers.
    z = x + t
    log_v = jnp.where(real, jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z), -jnp.inf)
    top = jnp.max(log_v, axis=-1, keepdims=True)
    share = jnp.exp(log_v - jnp.where(jnp.isfinite(top), top, 0))
    share = share / jnp.maximum(jnp.sum(share, axis=-1, keepdims=True), jnp.finfo(x.dtype).tiny)
    return t, -jnp.sum(share * change, axis=-1, keepdims=True)
