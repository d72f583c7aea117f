"""Hidden states -> one vector per text.

Pooling functions take hidden states [..., l, d] and a mask [..., l] (True = real) and return
[..., d] in float32. Padding may stand anywhere and hold anything, NaN included. A text without any
real token gives 0, with gradient 0.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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


POOLINGS: dict[str, Pooling] = {"cls": cls, "mean": mean, "last": last, "max": max}


def _at(hidden: Array, mask: Array, index: Array) -> Array:
    chosen = jnp.take_along_axis(hidden, index[..., None, None], axis=-2)[..., 0, :]
    return jnp.where(jnp.any(mask, axis=-1, keepdims=True), chosen.astype(jnp.float32), 0)
