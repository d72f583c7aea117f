"""RankList: RankNet over places near and far apart, pair by pair or as a log-sum-exp of each place."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_known, check_same_shape
from jaxir.losses.masked import logsumexp
from jaxir.reduce import AxisName, ReduceFn, reduce

FORMS = ("logsumexp", "exact")
SKIPS = ("all", "doubling")


def ranklist(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    form: str = "logsumexp",
    margin: float = 0.0,
    skips: str = "all",
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""Places i < j by falling label; a pair is compared where y_i > y_j and y_i - y_j >= margin.

    - ``exact``      sum over pairs of log(1 + e^{s_j - s_i}), RankNet's
    - ``logsumexp``  sum_i log(1 + sum_{j paired with i} e^{s_j - s_i})

    For two candidates both are RankNet; ``logsumexp`` with all pairs and no equal labels is ListMLE. A list
    without a pair is 0 and counts. The paper's exact loss could not be found: this is a reading of its
    description (local and non-local pairs, log-sum-exp, skips, margin).

    Args:
      scores: [..., n].
      labels: [..., n]; larger is better.
      where: [..., n] True = real.
      weights: [...] one factor per query.
      form: as above.
      margin: least difference of labels of a pair; equal labels are never one.
      skips: distances j - i of pairs: ``all``, or ``doubling`` for 1, 2, 4, ...: neighbours and a few that
        are far, n log n of them. Places of equal labels are in the order in which they stand.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, unknown ``form`` or ``skips``.

    References: Naini, Diaz and Busso 2025.
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    check_known("form of ranklist", form, FORMS)
    check_known("skips of ranklist", skips, SKIPS)
    real = jnp.ones(scores.shape, bool) if where is None else where
    order = jnp.argsort(jnp.where(real, -labels.astype(scores.dtype), jnp.inf), axis=-1, stable=True)
    s, y, kept = (jnp.take_along_axis(x, order, axis=-1) for x in (scores, labels, real))
    s = jnp.where(kept, s, 0)
    gap = y[..., :, None] - y[..., None, :]
    pairs = kept[..., :, None] & kept[..., None, :] & (gap > 0) & (gap >= margin)
    if skips == "doubling":
        place = jnp.arange(s.shape[-1])
        apart = place[None, :] - place[:, None]
        pairs &= (apart & (apart - 1)) == 0
    if form == "exact":
        each = jax.nn.softplus(s[..., None, :] - s[..., :, None])
        values = jnp.sum(jnp.where(pairs, each, 0), axis=(-2, -1))
    else:
        below = logsumexp(jnp.broadcast_to(s[..., None, :], pairs.shape), pairs)[..., 0]
        values = jnp.sum(jnp.where(jnp.any(pairs, axis=-1), jax.nn.softplus(below - s), 0), axis=-1)
    return reduce(
        values, where=jnp.any(real, axis=-1), weights=weights, reduce_fn=reduce_fn, axis_name=axis_name
    )
