"""ListMLE: the likelihood of the labels' order under Plackett and Luce's model of the scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_same_shape
from jaxir.losses.by_list import by_list
from jaxir.losses.plackett_luce import log_probability
from jaxir.reduce import AxisName, ReduceFn, reduce


def list_mle(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    key: Array | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""-log prod_k exp(s_{r_k}) / sum_{j >= k} exp(s_{r_j}), r the candidates by falling label.

    Only the order of the labels counts, which may be a teacher's scores. Candidates of equal labels have no
    order: with a ``key`` they are put in a random one (objectives give it in training, so that none is
    learned), without one they stay as they stand. For two candidates it is the logistic loss of their
    difference. A list of which all labels are equal is 0 and counts; one without a real candidate is left
    out of the mean.

    Args:
      scores: [..., n].
      labels: [..., n]; larger is better.
      where: [..., n] True = real.
      weights: [...] one factor per query.
      key: breaks ties; each list by its number in the global batch, so that devices change nothing.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ.

    References: Xia et al. 2008.

    >>> import jax.numpy as jnp
    >>> round(float(list_mle(jnp.array([0.0, 1.0]), jnp.array([2.0, 1.0]))), 5)
    1.31326
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    falling = jnp.where(real, -labels.astype(scores.dtype), jnp.inf)
    if key is None:
        order = jnp.argsort(falling, axis=-1, stable=True)
    else:
        ties = by_list(lambda k, n: jax.random.uniform(k, (n,)), key, scores, axis_name)
        order = jnp.lexsort((ties, falling), axis=-1)
    values = -log_probability(scores, order, where=real)
    first = jnp.min(falling, axis=-1, keepdims=True)
    ordered = jnp.any(real & (falling > first), axis=-1)
    return reduce(
        jnp.where(ordered, values, 0),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )
