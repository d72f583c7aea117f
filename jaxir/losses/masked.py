"""Sums over the real entries of a list, safe where there are none and where scores are large."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxir.reduce import AxisName, psum
from jaxir.types import Array


def logsumexp(s: Array, real: Array, axis: int = -1, axis_name: AxisName = None) -> Array:
    """log sum e^s over the real entries; -inf with gradient 0 where there is none. Keeps ``axis``."""
    low = jnp.finfo(s.dtype).min
    top = jnp.max(jnp.where(real, jax.lax.stop_gradient(s), low), axis=axis, keepdims=True)
    if axis_name is not None:
        top = jax.lax.pmax(top, axis_name)
    # Entries that are not real get exponent 0 before exp, so that neither they nor their gradient
    # can overflow; a NaN or infinity in a real one is not hidden.
    shifted = jnp.where(real, s - top, 0)
    mass = psum(jnp.sum(jnp.where(real, jnp.exp(shifted), 0), axis=axis, keepdims=True), axis_name)
    empty = mass == 0
    return jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1, mass)) + top)


def log_softmax(s: Array, real: Array) -> Array:
    """Log-probabilities over the real entries; 0 in the others, so that no infinity meets a 0."""
    low = jnp.finfo(s.dtype).min
    log_p = jax.nn.log_softmax(jnp.where(real, s, low), axis=-1)
    return jnp.where(real, log_p, 0)


def softmax(s: Array, real: Array) -> Array:
    """Probabilities over the real entries, 0 elsewhere; a list without a real entry is all 0."""
    return jnp.where(real, jnp.exp(log_softmax(s, real)), 0)
