"""How often what is preferred scores higher: a metric of pairs."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def ranking_accuracy(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""The share of pairs y_i > y_j with s_i >= s_j. A metric, no gradient: ``weight=0.0`` logs it.

    For preference pairs n is 2 and the labels are (1, 0); scores are log-likelihoods of the answers, or those
    divided by the number of tokens. (The accuracy of implicit rewards, against a reference model, is another
    number.) A list without a pair is left out of the mean.

    Raises:
      InputError: shapes that differ.

    References: Chen et al. 2024, Preference learning algorithms do not learn preference rankings (NeurIPS).

    >>> import jax.numpy as jnp
    >>> float(ranking_accuracy(jnp.array([1.0, 2.0, 0.0]), jnp.array([1.0, 0.0, 0.0])))
    0.5
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    above = real[..., :, None] & real[..., None, :] & (labels[..., :, None] > labels[..., None, :])
    s = jnp.where(real, scores, 0)
    # -1, 0, 1 -> 0, 1, 1; a NaN stays one.
    right = jnp.clip(jnp.sign(s[..., :, None] - s[..., None, :]) + 1, 0, 1)
    count = jnp.sum(above, axis=(-2, -1))
    values = jnp.sum(jnp.where(above, right, 0), axis=(-2, -1)) / jnp.maximum(count, 1)
    return reduce(values, where=count > 0, weights=weights, reduce_fn=reduce_fn, axis_name=axis_name)
