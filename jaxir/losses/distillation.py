"""Losses that learn a teacher's scores of the same candidates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import InputError, check_positive, check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def margin_mse(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"] | None = None,
    *,
    teacher: Float[Array, "*batch n"],
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""Margin-MSE: (1/|N|) sum_{n in N} ((s_0 - s_n) - (t_0 - t_n))^2, N = the real columns but 0.

    Column 0 is the positive by convention; ``labels`` are not read. Per-query constants in either
    the scores or the teacher's change nothing. A list without a column 0 or without any other real
    column is left out of the mean. The teacher gets no gradient.

    References: Hofstätter et al. 2020 (arXiv:2010.02666).

    >>> import jax.numpy as jnp
    >>> float(margin_mse(jnp.array([3.0, 1.0]), teacher=jnp.array([9.0, 4.0])))
    9.0
    """
    check_same_shape(scores=scores, labels=labels, teacher=teacher, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    # Where a slot is masked its score may be anything, NaN included: select before subtracting.
    error = jnp.where(real, scores - jax.lax.stop_gradient(teacher), 0)
    pairs = real[..., 1:] & real[..., :1]
    squares = jnp.where(pairs, jnp.square(error[..., :1] - error[..., 1:]), 0)
    count = jnp.sum(pairs, axis=-1)
    values = jnp.sum(squares, axis=-1) / jnp.maximum(count, 1)
    return reduce(values, where=count > 0, weights=weights, reduce_fn=reduce_fn, axis_name=axis_name)


def kl_divergence(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"] | None = None,
    *,
    teacher: Float[Array, "*batch n"],
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    teacher_temperature: float = 1.0,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""KL(p_t || p_s) = sum_n p_t log(p_t / p_s), p = softmax over the real candidates.

    p_s = softmax(scores / temperature), p_t = softmax(teacher / teacher_temperature). Mean over rows,
    without a factor temperature^2 (sentence-transformers multiplies by it). ``labels`` are not read.
    The teacher gets no gradient. 0 when both agree up to a constant per row.

    References: Hinton et al. 2015 (arXiv:1503.02531).
    """
    check_same_shape(scores=scores, labels=labels, teacher=teacher, where=where)
    check_positive("temperature", temperature)
    check_positive("teacher_temperature", teacher_temperature)
    real = jnp.ones(scores.shape, bool) if where is None else where
    log_s = _log_softmax(scores / temperature, real)
    log_t = _log_softmax(jax.lax.stop_gradient(teacher) / teacher_temperature, real)
    values = jnp.sum(jnp.where(real, jnp.exp(log_t) * (log_t - log_s), 0), axis=-1)
    return reduce(
        values,
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def ensemble(
    teachers: Float[Array, "*batch n t"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    scale: float = 30.0,
) -> Float[Array, "*batch n"]:
    r"""Scores of t teachers of any kind as those of one: scale * mean_t (T - min) / (max - min + 1e-6).

    min and max are each teacher's over the real candidates of a query, so that a dense teacher's cosines
    and a sparse one's dot products weigh the same, and a T + b with a > 0 is the same teacher. The scale
    makes up for the spread that is lost. A teacher that scores all candidates the same says nothing: 0. What
    is not real gets 0.

    Raises:
      InputError: a ``where`` of another shape, a scale that is not above 0.

    References: heterogeneous ensemble of inference-free sparse retrievers (arXiv:2411.04403).

    >>> import jax.numpy as jnp
    >>> ensemble(jnp.array([[0.0, 7.0], [6.0, 5.0], [2.0, 5.0]])).round().tolist()
    [15.0, 15.0, 5.0]
    """
    check_positive("scale of the ensemble", scale)
    if where is not None and where.shape != teachers.shape[:-1]:
        raise InputError(
            f"where has shape {where.shape}, expected {teachers.shape[:-1]}: teachers' but the last axis"
        )
    real = jnp.ones(teachers.shape, bool) if where is None else where[..., None]
    real = jnp.broadcast_to(real, teachers.shape)
    high = jnp.finfo(teachers.dtype).max
    least = jnp.min(jnp.where(real, teachers, high), axis=-2, keepdims=True)
    most = jnp.max(jnp.where(real, teachers, -high), axis=-2, keepdims=True)
    each = jnp.where(real, (teachers - least) / (most - least + 1e-6), 0)
    return scale * jnp.mean(each, axis=-1)


def _log_softmax(s: Array, real: Array) -> Array:
    """Log-probabilities over the real entries; 0 in the others, so that no infinity meets a 0."""
    low = jnp.finfo(s.dtype).min
    log_p = jax.nn.log_softmax(jnp.where(real, s, low), axis=-1)
    return jnp.where(real, log_p, 0)
