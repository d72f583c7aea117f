"""Ranking metrics with smooth ranks in place of ranks, as losses: ApproxNDCG and ApproxMRR."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_known, check_same_shape
from jaxir.losses.rank_transforms import approx_ranks, bound_ranks, gumbel_scores
from jaxir.reduce import AxisName, ReduceFn, reduce

RANKS = ("approx", "bound")


def approx_ndcg(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    ranks: str = "approx",
    samples: int = 0,
    key: Array | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""-(1/IDCG) sum_i (2^{y_i} - 1) / log2(1 + r_i), r the smooth ranks.

    IDCG is the sum in the best order of the labels. At least -1 where ranks are ``approx``, and -nDCG of the
    whole list as temperature -> 0. Ranks of n candidates are all of n^2 differences: for lists, not for
    batches of thousands.

    Args:
      scores: [..., n].
      labels: [..., n] grades; the gain is exponential, as rax's and TF-Ranking's (trec_eval's is linear).
      where: [..., n] True = real. A row without a real candidate is left out of the mean, one with real
        candidates and no positive is 0 and counts.
      weights: [...] one factor per query.
      temperature: of ``approx``: scores are divided by it. Small ones follow the metric, large ones have
        gradients.
      ranks: ``approx`` (sigmoids) or ``bound`` (hinges: the loss is never below the true one's).
      samples: draws of Gumbel noise on the scores, by ``key``; the value is their mean. 0 draws none, and
        neither does a call without a key (evaluation).
      key: of the draws; objectives give it in training.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, unknown ``ranks``, temperature not above 0.

    References: Qin et al. 2010; Bruch et al. 2019 (revisited), 2020 (Gumbel noise).

    >>> import jax.numpy as jnp
    >>> scores, labels = jnp.array([0.0, 1.0, 3.0, 2.0]), jnp.array([0.0, 0.0, 1.0, 2.0])
    >>> round(float(approx_ndcg(scores, labels)), 5)
    -0.71789
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    gains = jnp.where(real, jnp.exp2(jnp.where(real, labels, 0).astype(scores.dtype)) - 1, 0)
    best = jnp.flip(jnp.sort(gains, axis=-1), axis=-1)
    ideal = jnp.sum(best / jnp.log2(2 + jnp.arange(best.shape[-1])), axis=-1)
    discount = 1 / jnp.log2(1 + _ranks(scores, real, temperature, ranks, samples, key, axis_name))
    found = jnp.sum(gains * discount, axis=-1) / jnp.where(ideal > 0, ideal, 1)
    return reduce(
        -jnp.mean(found, axis=0),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def approx_mrr(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    ranks: str = "approx",
    samples: int = 0,
    key: Array | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""-max over positives i of 1 / r_i, r the smooth ranks: only the best positive has a gradient.

    Args, Raises: as :func:`approx_ndcg`. ``labels`` above 0 are positives.

    References: Qin et al. 2010.

    >>> import jax.numpy as jnp
    >>> scores, labels = jnp.array([0.0, 1.0, 3.0, 2.0]), jnp.array([0.0, 0.0, 1.0, 2.0])
    >>> round(float(approx_mrr(scores, labels)), 5)
    -0.69659
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    found = 1 / _ranks(scores, real, temperature, ranks, samples, key, axis_name)
    best = jnp.max(jnp.where(real & (labels > 0), found, 0), axis=-1)
    return reduce(
        -jnp.mean(best, axis=0),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def _ranks(scores, real, temperature, ranks, samples, key, axis_name) -> Array:
    """[draws, ..., n]; one draw is the scores themselves."""
    check_known("ranks", ranks, RANKS)
    drawn = scores[None]
    if samples and key is not None:
        drawn = gumbel_scores(scores, key, samples=samples, axis_name=axis_name)
    real = jnp.broadcast_to(real, drawn.shape)
    if ranks == "bound":
        return bound_ranks(drawn, where=real)
    return approx_ranks(drawn, where=real, temperature=temperature)
