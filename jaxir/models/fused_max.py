"""Hidden states -> one value per vocabulary entry, without the array [n, l, v] of all logits.

The logits of one tile of the vocabulary at a time, reduced over the positions at once: their maximum
(SPLADE v2, arXiv:2109.10086), or the sum of their activations (SPLADE, arXiv:2107.05720). The gradient
of the maximum goes to one position alone, so that the backward pass multiplies no matrices.

Positions whose mask is False may hold anything, NaN included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxir.checks import InputError

UNROLL = 8  # positions per round of the running maximum


def max_logits(
    hidden: Float[Array, "n l d"],
    mask: Bool[Array, "n l"],
    table: Float[Array, "v d"],
    bias: Float[Array, " v"] | None,
    *,
    tile: int = 1024,
) -> Float[Array, "n v"]:
    """max over the real positions i of <hidden_i, table_v> + bias_v.

    The products are taken in the dtype of ``hidden`` and summed in float32 (float64 stays so). The
    gradient goes to the position of the largest product, of several to the first. A row without real
    positions gives 0 with gradient 0. Rows and table may be sharded under ``jit``; inside ``shard_map``
    it takes ``check_vma=False``.

    Args:
      tile: entries of the vocabulary at a time; the largest arrays beside arguments and results are
        [n, l, tile] and, in the backward pass, [n, tile / 4, d].

    Raises:
      InputError: a tile below 1.

    >>> hidden = jnp.array([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
    >>> max_logits(hidden, jnp.array([[True, True, False]]), jnp.eye(2), jnp.array([0.0, 0.5])).tolist()
    [[1.0, 2.5]]
    """
    check_tile(tile)
    top = _top_product(jnp.where(mask[..., None], hidden, 0), mask, table, tile)
    logits = top if bias is None else top + bias.astype(top.dtype)
    return jnp.where(jnp.any(mask, axis=-1, keepdims=True), logits, 0)


def sum_activated(
    hidden: Float[Array, "n l d"],
    mask: Bool[Array, "n l"],
    table: Float[Array, "v d"],
    bias: Float[Array, " v"] | None,
    activation: Callable[[Array], Array],
    *,
    tile: int = 1024,
) -> Float[Array, "n v"]:
    """Sum over the real positions i of activation(<hidden_i, table_v> + bias_v).

    Precision, ``tile`` and errors as in :func:`max_logits`; the backward pass computes the logits of
    each tile again.

    >>> hidden = jnp.array([[[1.0, 0.0], [3.0, -2.0], [9.0, 9.0]]])
    >>> sum_activated(hidden, jnp.array([[True, True, False]]), jnp.eye(2), None, jax.nn.relu).tolist()
    [[4.0, 0.0]]
    """
    check_tile(tile)
    bias = jnp.zeros(table.shape[0], _wide(hidden)) if bias is None else bias
    return _sum_activated(jnp.where(mask[..., None], hidden, 0), mask, table, bias, activation, tile)


def check_tile(tile: int) -> None:
    """Raises for a tile below 1."""
    if tile < 1:
        raise InputError(f"tile={tile}: the number of vocabulary entries at a time, at least 1")


def _wide(hidden: Array) -> jnp.dtype:
    return jnp.promote_types(hidden.dtype, jnp.float32)


def _product(hidden: Array, rows: Array) -> Array:
    """hidden [n, l, d], rows [t, d] -> [n, l, t]."""
    return jnp.einsum("nld,td->nlt", hidden, rows.astype(hidden.dtype), preferred_element_type=_wide(hidden))


def _tiles(count: int, tile: int) -> tuple[int, int]:
    """How many tiles of which size cover the vocabulary; the last starts early enough to be whole."""
    tile = min(tile, count)
    return -(-count // tile), tile


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _top_product(hidden: Array, mask: Array, table: Array, tile: int) -> Array:
    """The maximum over positions [n, v]; ``hidden`` is 0 where the mask is False."""
    return _scan_top(hidden, mask, table, tile)[0]


def _scan_top(hidden: Array, mask: Array, table: Array, tile: int) -> tuple[Array, Array]:
    """The maxima [n, v] and the first positions that have them."""
    n, v = hidden.shape[0], table.shape[0]
    count, tile = _tiles(v, tile)

    def one(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        start = jnp.minimum(i * tile, v - tile)
        logits = _product(hidden, jax.lax.dynamic_slice_in_dim(table, start, tile))
        put = lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 1)
        return jax.tree.map(put, found, _running_max(logits, mask))

    blank = (jnp.zeros((n, v), _wide(hidden)), jnp.zeros((n, v), jnp.int32))
    return jax.lax.fori_loop(0, count, one, blank)


def _running_max(logits: Array, mask: Array) -> tuple[Array, Array]:
    """The maximum over axis 1 and the first position that has it; NaN if one is.

    Position after position: one pass over the logits, where a reduction to maximum and position made
    three, which cost half as much as the matrix product on a CPU.
    """
    n, l, tile = logits.shape

    def one(i: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        top, at = best
        new = jax.lax.dynamic_index_in_dim(logits, i, 1, keepdims=False)
        better = jax.lax.dynamic_index_in_dim(mask, i, 1) & ((new > top) | jnp.isnan(new))
        return jnp.where(better, new, top), jnp.where(better, i, at)

    start = (jnp.full((n, tile), -jnp.inf, logits.dtype), jnp.zeros((n, tile), jnp.int32))
    return jax.lax.fori_loop(0, l, one, start, unroll=min(l, UNROLL))


def _top_forward(hidden: Array, mask: Array, table: Array, tile: int) -> tuple[Array, tuple]:
    top, at = _scan_top(hidden, mask, table, tile)
    return top, (hidden, table, at)


def _top_backward(tile: int, kept: tuple, slopes: Array) -> tuple[Array, None, Array]:
    """Only the entries of the vocabulary that have a gradient in some row are looked at.

    Two loops, one per result: XLA's CPU backend copies both in every round of a common one.
    """
    hidden, table, at = kept
    v = table.shape[0]
    count, part = _tiles(v, max(tile // 4, 1))
    active = jnp.any(slopes != 0, axis=0)
    order = jnp.argsort(~active, stable=True).astype(jnp.int32)
    order = jnp.pad(order, (0, count * part - v), constant_values=v)
    rounds = (jnp.sum(active) + part - 1) // part

    def entries(i: Array) -> tuple[Array, Array, Array]:
        chosen = jax.lax.dynamic_slice_in_dim(order, i * part, part)
        g = slopes.at[:, chosen].get(mode="fill", fill_value=0)
        return chosen, g[..., None], at.at[:, chosen].get(mode="clip")

    def add_hidden(i: Array, total: Array) -> Array:
        chosen, g, places = entries(i)
        new = g * table.at[chosen].get(mode="clip").astype(hidden.dtype)
        add = lambda rows, place, part: rows.at[place].add(part, mode="promise_in_bounds")
        return jax.vmap(add)(total, places, new)

    def set_table(i: Array, total: Array) -> Array:
        chosen, g, places = entries(i)
        take = lambda rows, place: rows.at[place].get(mode="promise_in_bounds")
        return total.at[chosen].set(jnp.sum(g * jax.vmap(take)(hidden, places), axis=0), mode="drop")

    to_hidden = jax.lax.fori_loop(0, rounds, add_hidden, jnp.zeros(hidden.shape, slopes.dtype))
    to_table = jax.lax.fori_loop(0, rounds, set_table, jnp.zeros(table.shape, slopes.dtype))
    return to_hidden.astype(hidden.dtype), None, to_table.astype(table.dtype)


_top_product.defvjp(_top_forward, _top_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _sum_activated(
    hidden: Array, mask: Array, table: Array, bias: Array, activation: Callable[[Array], Array], tile: int
) -> Array:
    v = table.shape[0]
    count, tile = _tiles(v, tile)

    def one(i: Array, total: Array) -> Array:
        start = jnp.minimum(i * tile, v - tile)
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=tile)
        values = activation(_product(hidden, cut(table)) + cut(bias))
        new = jnp.sum(jnp.where(mask[..., None], values, 0), axis=1)
        return jax.lax.dynamic_update_slice_in_dim(total, new, start, 1)

    return jax.lax.fori_loop(0, count, one, jnp.zeros((hidden.shape[0], v), _wide(hidden)))


def _sum_forward(
    hidden: Array, mask: Array, table: Array, bias: Array, activation: Callable[[Array], Array], tile: int
) -> tuple[Array, tuple]:
    return _sum_activated(hidden, mask, table, bias, activation, tile), (hidden, mask, table, bias)


def _sum_backward(activation: Callable[[Array], Array], tile: int, kept: tuple, slopes: Array) -> tuple:
    hidden, mask, table, bias = kept
    v = table.shape[0]
    count, tile = _tiles(v, tile)

    def one(i: Array, carry: tuple) -> tuple:
        to_hidden, to_table, to_bias = carry
        start = jnp.minimum(i * tile, v - tile)
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=tile)
        fresh = start + jnp.arange(tile) >= i * tile  # the last tile overlaps the one before
        rows = cut(table).astype(hidden.dtype)
        _, pull = jax.vjp(activation, _product(hidden, rows) + cut(bias))
        g = jnp.where(fresh & mask[..., None], cut(slopes, axis=1)[:, None], 0)
        (g,) = pull(g)
        g = jnp.where(mask[..., None], g, 0)
        small = g.astype(hidden.dtype)
        to_hidden += jnp.einsum("nlt,td->nld", small, rows, preferred_element_type=slopes.dtype)
        own = jnp.einsum("nlt,nld->td", small, hidden, preferred_element_type=slopes.dtype)
        # Not as an updated slice, for which a sharded total would be gathered in every round.
        add = lambda a, b: a.at[start + jnp.arange(tile)].add(b, mode="promise_in_bounds")
        return to_hidden, add(to_table, own), add(to_bias, jnp.sum(g, axis=(0, 1)))

    blank = tuple(jnp.zeros(x.shape, slopes.dtype) for x in (hidden, table, bias))
    totals = jax.lax.fori_loop(0, count, one, blank)
    to_hidden, to_table, to_bias = (x.astype(a.dtype) for x, a in zip(totals, (hidden, table, bias)))
    return to_hidden, None, to_table, to_bias


_sum_activated.defvjp(_sum_forward, _sum_backward)
