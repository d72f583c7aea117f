"""A teacher's scores matched one by one: log cosh of the differences, dual-head distillation's loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_positive, check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def log_cosh(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"] | None = None,
    *,
    teacher: Float[Array, "*batch n"],
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    knee: float = 2.0,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""T^2 sum_n log cosh((s_n - t_n) / (2 T)), T = ``knee``: a square / 8 below it, linear above.

    It is T^2 sum_n KL(Bernoulli(1/2) || Bernoulli(sigmoid((s_n - t_n) / T))): each candidate by itself, so
    student and teacher must agree in level and scale, not only in differences. A sum over the candidates, as
    in the released code: it grows with the list. ``labels`` are not read; the teacher gets no gradient. The
    paper gives it a head of its own beside the one that is searched with: a term's ``columns`` can.

    Args:
      scores: [..., n].
      teacher: [..., n].
      where: [..., n] True = real. A row without a real candidate is left out of the mean.
      weights: [...] one factor per query.
      knee: T, not the ``temperature`` of a term, which divides the scores alone.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, a knee not above 0.

    References: Yang et al., dual-head knowledge distillation.

    >>> import jax.numpy as jnp
    >>> round(float(log_cosh(jnp.array([3.0, 1.0]), teacher=jnp.array([1.0, 1.0]), knee=1.0)), 5)
    0.43378
    """
    check_same_shape(scores=scores, labels=labels, teacher=teacher, where=where)
    check_positive("knee", knee)
    real = jnp.ones(scores.shape, bool) if where is None else where
    x = jnp.where(real, scores - jax.lax.stop_gradient(teacher), 0) / (2 * knee)
    return reduce(
        knee**2 * jnp.sum(_log_cosh(x), axis=-1),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def _log_cosh(x: Array) -> Array:
    """Exact near 0, where cosh is 1 and a digit, and far out, where it is no number."""
    near = jnp.log1p(2 * jnp.square(jnp.sinh(jnp.clip(x, -1, 1) / 2)))
    size = jnp.abs(x)
    return jnp.where(size < 1, near, size + jnp.log1p(jnp.exp(-2 * size)) - jnp.log(2.0))
