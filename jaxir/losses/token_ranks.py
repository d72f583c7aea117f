"""The loss of a ranking that is written out token by token, in which first places count more."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from jaxir.checks import check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def rank_aware_nll(
    scores: Float[Array, "*batch t"],
    labels: Num[Array, "*batch t"],
    *,
    where: Bool[Array, "*batch t"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""(1/#real) sum_t w_t (-log p_t), w_t = 1 + 1 / log2(k_t + 1) for a token of rank k_t >= 1, else 1.

    The first place weighs 2, the next 1.63, falling towards 1; the sum is divided by the number of tokens,
    not by that of the weights. With all ranks 0 it is the plain negative log-likelihood.

    Args:
      scores: [..., t] log-probability of each token of the target: of logits [..., t, v] it is
        ``jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], -1)[..., 0]``.
      labels: [..., t] the rank of the place that the token names, 1 the first; 0 of separators
        (:func:`token_ranks`).
      where: [..., t] True = real: a token of the answer, not of the prompt or padding.
      weights: [...] one factor per sequence.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per sequence.
      axis_name: mesh axis over which the sequences are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ.

    References: the importance-aware loss of full ranking, "Sliding windows are not the end", ACL 2025.

    >>> import jax.numpy as jnp
    >>> float(rank_aware_nll(jnp.array([-1.0, -0.5]), jnp.array([1, 0])))
    1.25
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    ranked = real & (labels >= 1)
    importance = 1 + jnp.where(ranked, 1 / jnp.log2(1 + jnp.where(ranked, labels, 1).astype(scores.dtype)), 0)
    total = jnp.sum(jnp.where(real, -importance * scores, 0), axis=-1)
    return reduce(
        total / jnp.maximum(jnp.sum(real, axis=-1), 1),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def token_ranks(
    ids: Int[Array, "*batch t"],
    separator: int,
    where: Bool[Array, "*batch t"] | None = None,
) -> Int[Array, "*batch t"]:
    """The rank that each token names in "[b] > [a] > [c]": 1 before the first separator, 2 after it, ...

    0 for separators and for what is not real. Separators outside of ``where`` (of a prompt) do not count.

    >>> import jax.numpy as jnp
    >>> token_ranks(jnp.array([5, 5, 9, 4, 9, 3]), 9).tolist()
    [1, 1, 0, 2, 0, 3]
    """
    check_same_shape(ids=ids, where=where)
    real = jnp.ones(ids.shape, bool) if where is None else where
    ends = real & (ids == separator)
    return jnp.where(real & ~ends, 1 + jnp.cumsum(ends, axis=-1, dtype=jnp.int32), 0)
