"""Random numbers of each list by itself, the same for any number of devices."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxir.reduce import AxisName
from jaxir.types import Array


def by_list(draw: Callable[[Array, int], Array], key: Array, scores: Array, axis_name: AxisName) -> Array:
    """draw(key of the list, n) of every list, stacked; a list's key is folded with its global number."""
    *batch, n = scores.shape
    lists = scores.size // max(n, 1)
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * lists
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(lists))
    drawn = jax.vmap(lambda k: draw(k, n))(keys)
    return drawn.reshape(*batch, *drawn.shape[1:])
