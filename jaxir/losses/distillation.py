"""Losses that learn a teacher's scores of the same candidates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import InputError, check_known, check_positive, check_same_shape
from jaxir.losses.masked import log_softmax
from jaxir.reduce import AxisName, ReduceFn, reduce


def margin_mse(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"] | None = None,
    *,
    teacher: Float[Array, "*batch n"],
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    pairs: str = "list",
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""Margin-MSE: the student's margins between candidates against the teacher's. With e = s - t,

    - ``list``       (1/|N|) sum_{n in N} (e_0 - e_n)^2, N = the real columns but 0
    - ``all_pairs``  (1/n^2) sum_{i, j} (e_i - e_j)^2 = 2 Var(e) over the n real columns, i = j among them

    In ``list`` column 0 is the positive by convention; ``labels`` are not read. Per-query constants in either
    the scores or the teacher's change nothing. A list without a pair to compare (of ``list``: without a
    column 0) is left out of the mean. The teacher gets no gradient.

    Raises:
      InputError: shapes that differ, unknown ``pairs``.

    References: Hofstätter et al. 2020 (arXiv:2010.02666).

    >>> import jax.numpy as jnp
    >>> float(margin_mse(jnp.array([3.0, 1.0]), teacher=jnp.array([9.0, 4.0])))
    9.0
    """
    check_same_shape(scores=scores, labels=labels, teacher=teacher, where=where)
    check_known("pairs of margin_mse", pairs, ("list", "all_pairs"))
    real = jnp.ones(scores.shape, bool) if where is None else where
    # Where a slot is masked its score may be anything, NaN included: select before subtracting.
    error = jnp.where(real, scores - jax.lax.stop_gradient(teacher), 0)
    if pairs == "list":
        others = real[..., 1:] & real[..., :1]
        squares, count = jnp.square(error[..., :1] - error[..., 1:]), jnp.sum(others, axis=-1)
        values, some = jnp.sum(jnp.where(others, squares, 0), axis=-1) / jnp.maximum(count, 1), count > 0
    else:
        count = jnp.sum(real, axis=-1, keepdims=True)
        mean = jnp.sum(error, axis=-1, keepdims=True) / jnp.maximum(count, 1)
        squares = jnp.where(real, jnp.square(error - mean), 0)
        values, some = 2 * jnp.sum(squares, axis=-1) / jnp.maximum(count[..., 0], 1), count[..., 0] > 1
    return reduce(values, where=some, weights=weights, reduce_fn=reduce_fn, axis_name=axis_name)


def kl_divergence(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"] | None = None,
    *,
    teacher: Float[Array, "*batch n"],
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    teacher_temperature: float = 1.0,
    direction: str = "forward",
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""KL(p_t || p_s) = sum_n p_t log(p_t / p_s), p = softmax over the real candidates.

    ``direction="reverse"`` is KL(p_s || p_t): the student may leave candidates of the teacher alone, but is
    punished for mass where the teacher has none.

    p_s = softmax(scores / temperature), p_t = softmax(teacher / teacher_temperature). Mean over rows,
    without a factor temperature^2 (sentence-transformers multiplies by it). ``labels`` are not read.
    The teacher gets no gradient. 0 when both agree up to a constant per row.

    Raises:
      InputError: shapes that differ, a temperature that is not above 0, unknown ``direction``.

    References: Hinton et al. 2015 (arXiv:1503.02531).
    """
    check_same_shape(scores=scores, labels=labels, teacher=teacher, where=where)
    check_positive("temperature", temperature)
    check_positive("teacher_temperature", teacher_temperature)
    check_known("direction of kl_divergence", direction, ("forward", "reverse"))
    real = jnp.ones(scores.shape, bool) if where is None else where
    log_s = log_softmax(scores / temperature, real)
    log_t = log_softmax(jax.lax.stop_gradient(teacher) / teacher_temperature, real)
    first, second = (log_t, log_s) if direction == "forward" else (log_s, log_t)
    values = jnp.sum(jnp.where(real, jnp.exp(first) * (first - second), 0), axis=-1)
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
