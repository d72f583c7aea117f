"""Hidden states -> one vector per text.

Pooling functions take hidden states [..., l, d] and a mask [..., l] (True = real) and return
[..., d] in float32. Padding may stand anywhere and hold anything, NaN included. A text without any
real token gives 0, with gradient 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxir.checks import InputError, check_known

Pooling = Callable[[Array, Array], Array]


def cls(hidden: Float[Array, "*batch l d"], mask: Bool[Array, "*batch l"]) -> Float[Array, "*batch d"]:
    """The first real token."""
    return _at(hidden, mask, jnp.argmax(mask, axis=-1))


def last(hidden: Float[Array, "*batch l d"], mask: Bool[Array, "*batch l"]) -> Float[Array, "*batch d"]:
    """The last real token, which in a causal trunk is the only one that has seen the whole text."""
    return _at(hidden, mask, mask.shape[-1] - 1 - jnp.argmax(mask[..., ::-1], axis=-1))


def mean(hidden: Float[Array, "*batch l d"], mask: Bool[Array, "*batch l"]) -> Float[Array, "*batch d"]:
    """The mean of the real tokens.

    >>> mean(jnp.array([[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]), jnp.array([True, True, False])).tolist()
    [2.0, 1.0]
    """
    real = mask[..., None]
    total = jnp.sum(jnp.where(real, hidden.astype(jnp.float32), 0), axis=-2)
    return total / jnp.maximum(jnp.sum(real, axis=-2), 1)


def max(hidden: Float[Array, "*batch l d"], mask: Bool[Array, "*batch l"]) -> Float[Array, "*batch d"]:
    """The largest value of each dimension over the real tokens; ties share the gradient."""
    real = mask[..., None]
    values = jnp.where(real, hidden.astype(jnp.float32), -jnp.inf)
    return jnp.where(jnp.any(real, axis=-2), jnp.max(values, axis=-2), 0)


def mean_sqrt(hidden: Float[Array, "*batch l d"], mask: Bool[Array, "*batch l"]) -> Float[Array, "*batch d"]:
    """The sum of the real tokens over the square root of their number.

    >>> mean_sqrt(jnp.ones((4, 2)), jnp.array([True, True, True, True])).tolist()
    [2.0, 2.0]
    """
    count = jnp.sum(mask, axis=-1, keepdims=True).astype(jnp.float32)
    return mean(hidden, mask) * jnp.sqrt(count)


def weighted_mean(
    hidden: Float[Array, "*batch l d"], mask: Bool[Array, "*batch l"]
) -> Float[Array, "*batch d"]:
    """The mean with weight i for the i-th real token (SGPT, arXiv:2202.08904), for causal trunks.

    >>> weighted_mean(jnp.array([[3.0], [9.0], [0.0]]), jnp.array([True, True, False])).tolist()
    [7.0]
    """
    weights = jnp.where(mask, jnp.cumsum(mask, axis=-1), 0).astype(jnp.float32)[..., None]
    total = jnp.sum(jnp.where(mask[..., None], hidden.astype(jnp.float32) * weights, 0), axis=-2)
    return total / jnp.maximum(jnp.sum(weights, axis=-2), 1)


POOLINGS: dict[str, Pooling] = {
    "cls": cls,
    "mean": mean,
    "last": last,
    "max": max,
    "mean_sqrt": mean_sqrt,
    "weighted_mean": weighted_mean,
}


def find_pooling(pooling: str | Sequence[str] | Pooling) -> tuple[Pooling, int]:
    """A pooling function by name, and how many times the trunk's width its result is wide.

    Several names give their vectors one after another.

    Raises:
      InputError: an unknown name, or none.
    """
    if callable(pooling):
        return pooling, 1
    names = [pooling] if isinstance(pooling, str) else list(pooling)
    for name in names:
        check_known("pooling", name, POOLINGS)
    if not names:
        raise InputError(f"pooling is empty; give one or several of {', '.join(POOLINGS)}")
    if len(names) == 1:
        return POOLINGS[names[0]], 1

    def joined(hidden: Array, mask: Array) -> Array:
        return jnp.concatenate([POOLINGS[name](hidden, mask) for name in names], axis=-1)

    return joined, len(names)


def _at(hidden: Array, mask: Array, index: Array) -> Array:
    chosen = jnp.take_along_axis(hidden, index[..., None, None], axis=-2)[..., 0, :]
    return jnp.where(jnp.any(mask, axis=-1, keepdims=True), chosen.astype(jnp.float32), 0)
