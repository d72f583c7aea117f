"""A batch as rows (queries with their lists) and as columns (candidates), and who may meet whom.

Everything here is written for some rows against some columns, so that the whole matrix and a tile of it
are masked by the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from jaxir.checks import InputError, check_known, check_shape

BLOCKS = ("query_doc", "doc_query", "query_query", "doc_doc")
"""The four blocks of GTE's improved contrastive loss, in the order of their columns."""

UNROLLED = 16
"""Ids of a list that are compared in one fused pass; longer lists are looked through in a loop."""

Score = Callable[..., Array]


class Entries(NamedTuple):
    """Queries with their listed documents; as rows they ask, as columns they are candidates.

    Ids are -1 where absent; ``known`` holds the ids that are relevant to the query, its own positives first.
    """

    query: Float[Array, "b d"]
    docs: Float[Array, "b n d"]
    labels: Float[Array, "b n"]
    where: Bool[Array, "b n"]
    doc_id: Int[Array, "b n"]
    query_id: Int[Array, " b"]
    known: Int[Array, "b p"]


class Rules(NamedTuple):
    """The switches of :func:`jaxir.negatives.in_batch`."""

    blocks: tuple[str, ...]
    other_positives: bool
    other_hard_negatives: bool


class Block(NamedTuple):
    """One block of the matrix: row vectors, column vectors, and which pairs are candidates.

    ``own`` marks the columns of the query's own list, the only ones that can have labels.
    """

    left: Float[Array, "b d"]
    right: Float[Array, "m d"]
    where: Bool[Array, "b m"]
    own: Bool[Array, "b m"] | None = None


def entries(
    query: Float[Array, "b d"],
    docs: Float[Array, "b n d"] | Float[Array, "b d"],
    labels: Num[Array, "b n"] | None = None,
    where: Bool[Array, "b n"] | None = None,
    doc_id: Int[Array, "b n"] | None = None,
    query_id: Int[Array, " b"] | None = None,
    known: Int[Array, "b p"] | None = None,
) -> Entries:
    """The batch with its defaults filled in.

    Raises:
      InputError: shapes that do not fit, ``known`` without ``doc_id``.
    """
    if docs.ndim == 2:
        docs = docs[:, None, :]
    b, n, _ = docs.shape
    check_shape("query", query, (b, docs.shape[-1]))
    for name, array in (("labels", labels), ("where", where), ("doc_id", doc_id)):
        if array is not None:
            check_shape(name, array, (b, n))
    if known is not None and doc_id is None:
        raise InputError("known lists document ids, which mean nothing without doc_id")
    dtype = jnp.promote_types(query.dtype, jnp.float32)
    # Defaults vary over a mesh as the representations do: around a ring they travel with them.
    full = lambda like, value: jnp.where(like == like, value, value)
    if labels is None:
        labels = full(docs[..., 0], jnp.zeros((), dtype)).at[:, 0].set(1)
    where = full(docs[..., 0], jnp.array(True)) if where is None else where
    doc_id = full(docs[..., 0], jnp.int32(-1)) if doc_id is None else doc_id
    query_id = full(query[:, 0], jnp.int32(-1)) if query_id is None else query_id
    positives = jnp.where((labels > 0) & where, doc_id, -1)
    known = positives if known is None else jnp.concatenate([positives, known], axis=1)
    return Entries(query, docs, labels.astype(dtype), where, doc_id, query_id, known)


def rules(blocks: Sequence[str], other_positives: bool, other_hard_negatives: bool) -> Rules:
    """The blocks in the order of :data:`BLOCKS`. Raises an InputError for an unknown one."""
    for block in blocks:
        check_known("block", block, BLOCKS)
    ordered = tuple(block for block in BLOCKS if block in blocks)
    return Rules(ordered, other_positives, other_hard_negatives)


def make_blocks(rows: Entries, columns: Entries, same: Bool[Array, "b c"], rules: Rules) -> list[Block]:
    """The blocks of rows against columns; ``same[i, j]``: row i and column entry j are one entry."""
    makers = {
        "query_doc": _query_doc,
        "doc_query": _doc_query,
        "query_query": _query_query,
        "doc_doc": _doc_doc,
    }
    real = jnp.any(rows.where, axis=1, keepdims=True)
    blocks = [makers[name](rows, columns, same, rules) for name in rules.blocks]
    return [block._replace(where=block.where & real) for block in blocks]


def own_where(rows: Entries) -> Bool[Array, "b n"]:
    """Which documents of its own list a query is scored against: real, and no relevant one labelled 0."""
    relevant = jax.vmap(lambda known, ids: _contains(known[None], ids)[0])(rows.known, rows.doc_id)
    return rows.where & ((rows.labels > 0) | ~relevant)


def _query_doc(rows, columns, same, rules) -> Block:
    positive = columns.labels > 0
    allowed = (positive & rules.other_positives) | (~positive & rules.other_hard_negatives)
    own = same[:, :, None]
    relevant = _contains(rows.known, columns.doc_id)
    # Another row of the same query: its positives are this row's positives too.
    relevant |= _same(rows.query_id, columns.query_id)[:, :, None] & positive[None]
    where = columns.where[None] & (own | allowed[None]) & ((own & positive[None]) | ~relevant)
    own = jnp.broadcast_to(own, where.shape)
    return Block(rows.query, _flat(columns.docs), _flat_columns(where), _flat_columns(own))


def _doc_query(rows, columns, same, rules) -> Block:
    real = jnp.any(columns.where, axis=1)[None]
    answers = _contains(columns.known, rows.doc_id[:, 0]).T  # d_i answers q_j too
    answers |= _same(rows.query_id, columns.query_id)
    return Block(rows.docs[:, 0], columns.query, real & (same | ~answers))


def _query_query(rows, columns, same, rules) -> Block:
    real = jnp.any(columns.where, axis=1)[None]
    where = real & ~same & ~_same(rows.query_id, columns.query_id)
    return Block(rows.query, columns.query, where)


def _doc_doc(rows, columns, same, rules) -> Block:
    relevant = _contains(rows.known, columns.doc_id)
    relevant |= _same(rows.query_id, columns.query_id)[:, :, None] & (columns.labels > 0)[None]
    where = columns.where[None] & ~same[:, :, None] & ~relevant
    return Block(rows.docs[:, 0], _flat(columns.docs), _flat_columns(where))


def _contains(lists: Array, ids: Array) -> Array:
    """[x, p] ids and [...] ids -> [x, ...]: whether list x holds the id. Never builds [x, ..., p]."""

    def holds(column: Array) -> Array:
        column = column.reshape((-1,) + (1,) * ids.ndim)
        return (column == ids[None]) & (ids >= 0)[None]

    if lists.shape[1] <= UNROLLED:
        found = holds(lists[:, 0]) & False
        for i in range(lists.shape[1]):
            found |= holds(lists[:, i])
        return found

    def look(i: Array, found: Array) -> Array:
        return found | holds(jax.lax.dynamic_index_in_dim(lists, i, axis=1, keepdims=False))

    return jax.lax.fori_loop(0, lists.shape[1], look, holds(lists[:, 0]) & False)


def _same(left: Array, right: Array) -> Array:
    return (left[:, None] == right[None]) & (right >= 0)[None]


def _flat(docs: Array) -> Array:
    return docs.reshape(-1, docs.shape[-1])


def _flat_columns(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)
