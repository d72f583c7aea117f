"""Padding that is not computed: the real tokens of a batch, one after another in few slots.

A transformer works on tokens one by one, but for attention and pooling. With a :class:`Layout` its
hidden states are [1, t, d], t slots for the real tokens of all n texts, and only queries, keys and
values are spread over [n, l] for a moment.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Layout(NamedTuple):
    """Where the tokens lie: a one-to-one map between slots and positions row * l + column.

    ``at``: the position of each slot, n l where a slot is empty. ``slot``: the slot of each position,
    t where it has none.
    """

    at: Int[Array, " t"]
    slot: Int[Array, "n l"]

    def pack(self, x: Array) -> Array:
        """[n, l, ...] -> [1, t, ...], 0 in empty slots."""
        flat = x.reshape(-1, *x.shape[2:])
        return _take(flat, self.at, self.slot.reshape(-1))[None]

    def spread(self, x: Array) -> Array:
        """[1, t, ...] -> [n, l, ...], 0 where no slot is."""
        n, l = self.slot.shape
        return _take(x[0], self.slot.reshape(-1), self.at).reshape(n, l, *x.shape[2:])


def layout(packed: Int[Array, "1 t"], mask: Bool[Array, "n l"]) -> Layout:
    """From :attr:`jaxir.types.Tokens.packed` of one group."""
    at = packed[0]
    slots = jnp.arange(at.size, dtype=jnp.int32)
    slot = jnp.full(mask.size, at.size, jnp.int32).at[at].set(slots, mode="drop", unique_indices=True)
    return Layout(at, slot.reshape(mask.shape))


@jax.custom_vjp
def _take(x: Array, rows: Array, back: Array) -> Array:
    """x[rows], 0 for rows outside x; ``back`` is the inverse of ``rows``.

    Its gradient is x[back]. Differentiated as a gather it would be a scatter, which XLA runs element
    by element on a CPU.
    """
    del back
    return x.at[rows].get(mode="fill", fill_value=0)


def _take_forward(x: Array, rows: Array, back: Array):
    return _take(x, rows, back), (rows, back)


def _take_backward(indices: tuple[Array, Array], gradient: Array):
    rows, back = indices
    return _take(gradient, back, rows), None, None


_take.defvjp(_take_forward, _take_backward)
