"""RankNet over all pairs that the labels order, weighted by where the two stand: FIRST's loss on logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_known, check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def weighted_ranknet(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    over_pairs: str = "mean",
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""sum over pairs y_i > y_j of log(1 + e^{s_j - s_i}) / (rho_i + rho_j), rho_i = 1 + #{j : y_j > y_i}.

    rho is the rank of the labels, 1 the best, so that mistakes at the top cost most; equal labels share a
    rank and are no pair. Only the order of the labels counts: they may be a teacher's scores. The scores
    may be a decoder's logits of the candidates' identifiers at one step. A list without a pair is 0 and
    counts.

    Args:
      scores: [..., n].
      labels: [..., n]; larger is better.
      where: [..., n] True = real.
      weights: [...] one factor per query.
      over_pairs: ``mean`` over the pairs, as the released code, or ``sum``, as the formula.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, unknown ``over_pairs``.

    References: Reddy et al. 2024, FIRST (arXiv:2406.15657); Burges et al. 2005, RankNet.

    >>> import jax.numpy as jnp
    >>> round(3 * float(weighted_ranknet(jnp.array([0.0, 1.0]), jnp.array([2.0, 1.0]))), 5)
    1.31326
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    check_known("over_pairs", over_pairs, ("mean", "sum"))
    real = jnp.ones(scores.shape, bool) if where is None else where
    above = real[..., :, None] & real[..., None, :] & (labels[..., :, None] > labels[..., None, :])
    rank = 1 + jnp.sum(above, axis=-2)
    s = jnp.where(real, scores, 0)
    each = jax.nn.softplus(s[..., None, :] - s[..., :, None]) / (rank[..., :, None] + rank[..., None, :])
    values = jnp.sum(jnp.where(above, each, 0), axis=(-2, -1))
    if over_pairs == "mean":
        values = values / jnp.maximum(jnp.sum(above, axis=(-2, -1)), 1)
    return reduce(
        values, where=jnp.any(real, axis=-1), weights=weights, reduce_fn=reduce_fn, axis_name=axis_name
    )
