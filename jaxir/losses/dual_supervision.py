"""Margin-MSE over a whole batch: the in-batch half of TAS-B's dual supervision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import InputError, check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def in_batch_margin_mse(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    teacher: Float[Array, "*batch n"],
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    group: int = 1,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""(1/|N|) sum_{n in N} ((s_p - s_n) - (t_p - t_n))^2, p the positive, N the columns of other queries.

    p is the first of a row's columns with the largest label. Per-query constants in the scores or in the
    teacher's change nothing; 0 where both agree up to those. TAS-B adds 0.75 of it to ``margin_mse`` of the
    query's own pair, with a late-interaction teacher that scores the whole batch. No gradient to the teacher.

    Args:
      scores: [..., n] against all documents of the batch.
      labels: [..., n], above 0 is a positive.
      teacher: [..., n] of the same columns.
      where: [..., n] True = real. A row without another query's column is left out of the mean; one with
        columns and no positive is 0 and counts.
      weights: [...] one factor per query.
      group: documents of each query: columns come in groups of so many, and those of the positive's own are
        no part of N (``margin_mse`` has them). 1: only the positive is not.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, ``group`` below 1.

    References: Hofstätter et al. 2021, TAS-B (arXiv:2104.06967).
    """
    check_same_shape(scores=scores, labels=labels, teacher=teacher, where=where)
    if group < 1:
        raise InputError(f"group is {group}, it must be at least 1")
    real = jnp.ones(scores.shape, bool) if where is None else where
    grade = jnp.where(real, labels, 0)
    best = jnp.argmax(grade, axis=-1, keepdims=True)
    error = jnp.where(real, scores - jax.lax.stop_gradient(teacher), 0)
    others = real & (jnp.arange(scores.shape[-1]) // group != best // group)
    count = jnp.sum(others, axis=-1)
    squares = jnp.where(others, jnp.square(jnp.take_along_axis(error, best, axis=-1) - error), 0)
    values = jnp.sum(squares, axis=-1) / jnp.maximum(count, 1)
    values = jnp.where(jnp.any(grade > 0, axis=-1), values, 0)
    return reduce(values, where=count > 0, weights=weights, reduce_fn=reduce_fn, axis_name=axis_name)
