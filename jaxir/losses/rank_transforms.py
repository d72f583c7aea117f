"""Ranks that have a gradient, and scores perturbed so that a loss sees more than one order of them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxir.checks import InputError, check_positive, check_same_shape
from jaxir.losses.by_list import by_list
from jaxir.reduce import AxisName


def approx_ranks(
    scores: Float[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, "*batch n"]:
    r"""r_i = 1 + sum_{j != i} sigmoid((s_j - s_i) / T): the rank, 1 the best, with steps made smooth.

    The ranks of a list of n sum to n (n + 1) / 2 for any scores and T; T -> 0 gives the ranks themselves.
    What is not real has no part in others' ranks and gets 1.

    References: Qin et al. 2010, ApproxNDCG.

    >>> import jax.numpy as jnp
    >>> approx_ranks(jnp.array([5.0, 1.0, 3.0]), temperature=0.01).tolist()
    [1.0, 3.0, 2.0]
    """
    check_positive("temperature", temperature)
    return 1 + jnp.sum(_others(jax.nn.sigmoid, scores / temperature, where), axis=-1)


def bound_ranks(
    scores: Float[Array, "*batch n"], *, where: Bool[Array, "*batch n"] | None = None
) -> Float[Array, "*batch n"]:
    r"""r_i = 1 + sum_{j != i} max(0, 1 + s_j - s_i): never better than the rank, so metrics of it are bounds.

    What is not real has no part in others' ranks and gets 1.

    >>> import jax.numpy as jnp
    >>> bound_ranks(jnp.array([5.0, 1.0, 3.0])).tolist()
    [1.0, 9.0, 4.0]
    """
    return 1 + jnp.sum(_others(lambda x: jax.nn.relu(1 + x), scores, where), axis=-1)


def gumbel_scores(
    scores: Float[Array, "*batch n"],
    key: Array,
    *,
    samples: int = 8,
    scale: float = 1.0,
    axis_name: AxisName = None,
) -> Float[Array, "samples *batch n"]:
    r"""s + scale G with independent Gumbel(0, 1) noise G, ``samples`` times on a new first axis.

    With scale 1 the order of each sample is a draw of the Plackett-Luce model of the scores, which keeps
    their gradient. A list draws by its own key, fold_in(key, its number in the global batch), so that
    devices change nothing.

    Raises:
      InputError: fewer than one sample.

    References: Bruch et al. 2020, stochastic treatment of ranking functions.
    """
    if samples < 1:
        raise InputError(f"samples is {samples}, it must be at least 1")
    noise = by_list(lambda k, n: jax.random.gumbel(k, (samples, n), scores.dtype), key, scores, axis_name)
    return scores + scale * jnp.moveaxis(noise, -2, 0)


def _others(step: Callable[[Array], Array], scores: Array, where: Array | None) -> Array:
    """step(s_j - s_i) at [..., i, j], 0 for i = j and where one of both is not real."""
    check_same_shape(scores=scores, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    scores = jnp.where(real, scores, 0)
    pairs = real[..., :, None] & real[..., None, :] & ~jnp.eye(scores.shape[-1], dtype=bool)
    return jnp.where(pairs, step(scores[..., None, :] - scores[..., :, None]), 0)
