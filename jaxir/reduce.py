"""Reductions that mean the same on one device and on many.

A mean over devices is psum(sum) / psum(count), never a mean of means: with uneven masks those differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxir.types import Array

AxisName = str | tuple[str, ...] | None
ReduceFn = Callable[..., Array] | None


def psum(x: Array, axis_name: AxisName = None) -> Array:
    """Sum over a mesh axis (or axes), or ``x`` itself when ``axis_name`` is None."""
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def masked_sum(values: Array, where: Array | None = None, axis_name: AxisName = None) -> Array:
    """Sum of the real values over all axes and devices."""
    return psum(jnp.sum(_hide(values, where)), axis_name)


def masked_mean(values: Array, where: Array | None = None, axis_name: AxisName = None) -> Array:
    """Mean of the real values over all axes and devices; 0 with gradient 0 when there is none.

    A NaN or infinity in a real slot is not hidden.

    >>> import jax.numpy as jnp
    >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
    2.0
    >>> float(masked_mean(jnp.array([jnp.nan]), jnp.array([False])))
    0.0
    """
    total = masked_sum(values, where, axis_name)
    real = jnp.ones_like(values) if where is None else jnp.broadcast_to(where, values.shape)
    count = psum(jnp.sum(real.astype(total.dtype)), axis_name)
    return total / jnp.maximum(count, 1)


def over(axis_name: AxisName, reduce_fn: ReduceFn = jnp.mean) -> ReduceFn:
    """``reduce_fn`` made global over ``axis_name``; fits the ``reduce_fn=`` of jaxir's and rax's losses.

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.arange(4.0).reshape(2, 2)
    >>> mean = jax.vmap(lambda v: over("i")(v, where=v > 0), axis_name="i")
    >>> mean(x).tolist()
    [2.0, 2.0]

    Raises:
      ValueError: for a reduction other than ``jnp.mean``, ``jnp.sum`` or None over an axis; its
        meaning over shards is unknown.
    """
    if reduce_fn is None:
        return None
    if reduce_fn is jnp.mean:
        return lambda values, where=None: masked_mean(values, where, axis_name)
    if reduce_fn is jnp.sum:
        return lambda values, where=None: masked_sum(values, where, axis_name)
    if axis_name is None:
        return reduce_fn
    raise ValueError(
        f"reduce_fn={reduce_fn} cannot be taken over the mesh axis {axis_name!r}: "
        "use jnp.mean, jnp.sum or None"
    )


def reduce(
    values: Array,
    *,
    where: Array | None = None,
    weights: Array | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Array:
    """The last line of every loss: one value per query -> a number.

    ``weights`` multiply the values (they do not enter the divisor, as in rax). With
    ``reduce_fn=None`` the values come back, 0 where masked, so that their sum equals the sum form.
    """
    if weights is not None:
        values = values * weights
    fn: Any = over(axis_name, reduce_fn)
    return _hide(values, where) if fn is None else fn(values, where=where)


def _hide(values: Array, where: Array | None) -> Array:
    return values if where is None else jnp.where(where, values, jnp.zeros_like(values))
