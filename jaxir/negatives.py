"""Which documents a query is scored against: its own list, and everybody else's in the batch.

The collectives over the device mesh live here. With ``axis_name`` the candidates of the whole global
batch are gathered and each device scores its own queries, so that a bigger mesh means more negatives
and never another answer. ``lax.all_gather``'s transpose is a reduce-scatter, so gradients reach the
devices that the documents came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from jaxir import scoring
from jaxir.checks import InputError, check_known, check_shape
from jaxir.reduce import AxisName

BLOCKS = ("query_doc", "doc_query", "query_query", "doc_doc")
"""The four blocks of GTE's improved contrastive loss, in the order of their columns."""


class Candidates(NamedTuple):
    """Scores of each query with its candidates, in the form every loss takes."""

    scores: Float[Array, "b m"]
    labels: Float[Array, "b m"]
    where: Bool[Array, "b m"]


class _Global(NamedTuple):
    """The whole batch's columns, gathered. B queries of G documents; ids are -1 where absent."""

    query: Array  # [B, d]
    docs: Array  # [B, G, d]
    labels: Array  # [B, G]
    where: Array  # [B, G]
    doc_id: Array  # [B, G]
    query_id: Array  # [B]
    known: Array  # [B, P] ids that are relevant to the query: its own positives, then `known`


def in_batch(
    query: Float[Array, "b d"],
    docs: Float[Array, "b n d"] | Float[Array, "b d"],
    *,
    labels: Num[Array, "b n"] | None = None,
    where: Bool[Array, "b n"] | None = None,
    doc_id: Int[Array, "b n"] | None = None,
    query_id: Int[Array, b] | None = None,
    known: Int[Array, "b p"] | None = None,
    other_positives: bool = True,
    other_hard_negatives: bool = True,
    blocks: Sequence[str] = ("query_doc",),
    score: Callable[..., Array] = scoring.dot,
    axis_name: AxisName = None,
) -> Candidates:
    r"""Scores of b queries with all documents of the (global) batch of B queries.

    Column m = j * n + g is document g of query j; the labels of a query's own n columns are its
    ``labels`` (default: column 0 is the positive), all others are 0. ``where`` of the result is False

    - on documents that are padding, and on whole rows of queries that are padding (no real document);
    - on a column whose document is relevant to the query though it is labelled 0 there: equal
      ``doc_id`` to one of its positives, listed in ``known``, or a positive of a row with the same
      ``query_id``. A positive is never masked;
    - on other queries' positives or listed negatives, where ``other_positives`` or
      ``other_hard_negatives`` is False. Three incompatible conventions exist: (True, True) is DPR's,
      (False, True) opensearch's, (True, False) naver's SPLADE; (False, False) is the own list alone.

    ``blocks`` adds columns for GTE's improved loss: one softmax over the union of

    - ``query_doc``    <q_i, d_m>, as above;
    - ``doc_query``    <d_i, q_j> for all j, the pair's own (j = i) included, so that the positive
      counts twice in the denominator and the loss is at least log 2;
    - ``query_query``  <q_i, q_j> for j != i;
    - ``doc_doc``      <d_i, d_m> for documents m of other queries,

    where d_i is the document in column 0. ``losses.softmax`` of the result is then the improved loss.

    Args:
      query: [b, d], this device's queries.
      docs: [b, n, d], or [b, d] for one document each.
      labels: [b, n] relevance, > 0 is a positive.
      where: [b, n] True = real.
      doc_id: [b, n] equal numbers mean the same text; negative numbers are no id.
      query_id: [b] likewise.
      known: [b, p] ids of documents known to be relevant, padded with -1.
      score: all-pairs score, [x, d] and [y, d] -> [x, y].
      axis_name: mesh axis (or axes) over which the batch is sharded.

    Returns:
      Candidates with one row per local query.

    Raises:
      InputError: shapes that do not fit, an unknown block, ``known`` without ``doc_id``.

    References: Karpukhin et al. 2020 (arXiv:2004.04906); Li et al. 2023 (arXiv:2308.03281).
    """
    if docs.ndim == 2:
        docs = docs[:, None, :]
    b, n, _ = docs.shape
    check_shape("query", query, (b, docs.shape[-1]))
    for name, array in (("labels", labels), ("where", where), ("doc_id", doc_id)):
        if array is not None:
            check_shape(name, array, (b, n))
    for block in blocks:
        check_known("block", block, BLOCKS)
    if known is not None and doc_id is None:
        raise InputError("known lists document ids, which mean nothing without doc_id")

    local = _fill(query, docs, labels, where, doc_id, query_id, known)
    everyone = local if axis_name is None else _gather(local, axis_name)
    start = 0 if axis_name is None else jax.lax.axis_index(axis_name) * b
    own = jnp.arange(everyone.query.shape[0])[None, :] == (start + jnp.arange(b))[:, None]  # [b, B]

    columns = {
        "query_doc": lambda: _query_doc(local, everyone, own, other_positives, other_hard_negatives),
        "doc_query": lambda: (local.docs[:, 0], everyone.query, *_doc_query(local, everyone, own)),
        "query_query": lambda: (local.query, everyone.query, *_query_query(local, everyone, own)),
        "doc_doc": lambda: (
            local.docs[:, 0],
            _flat(everyone.docs),
            *_doc_doc(local, everyone, own),
        ),
    }
    real_row = jnp.any(local.where, axis=1, keepdims=True)
    parts = []
    for block in blocks:
        left, right, block_labels, block_where = columns[block]()
        parts.append(Candidates(score(left, right), block_labels, block_where & real_row))
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)


def _fill(query, docs, labels, where, doc_id, query_id, known) -> _Global:
    b, n, _ = docs.shape
    dtype = jnp.promote_types(query.dtype, jnp.float32)
    if labels is None:
        labels = jnp.zeros((b, n), dtype).at[:, 0].set(1)
    where = jnp.ones((b, n), bool) if where is None else where
    doc_id = jnp.full((b, n), -1, jnp.int32) if doc_id is None else doc_id
    query_id = jnp.full((b,), -1, jnp.int32) if query_id is None else query_id
    positives = jnp.where((labels > 0) & where, doc_id, -1)
    known = positives if known is None else jnp.concatenate([positives, known], axis=1)
    return _Global(query, docs, labels.astype(dtype), where, doc_id, query_id, known)


def _gather(local: _Global, axis_name: AxisName) -> _Global:
    return jax.tree.map(lambda x: jax.lax.all_gather(x, axis_name, tiled=True), local)


def _query_doc(local, everyone, own, other_positives, other_hard_negatives):
    positive = everyone.labels > 0
    allowed = (positive & other_positives) | (~positive & other_hard_negatives)
    own_list = own[:, :, None] & jnp.ones_like(everyone.where)[None]
    labels = jnp.where(own_list, everyone.labels[None], 0)
    relevant = _contains(local.known, everyone.doc_id)
    # Another row of the same query: its positives are this row's positives too.
    relevant |= _same(local.query_id, everyone.query_id)[:, :, None] & positive[None]
    where = everyone.where[None] & (own_list | allowed[None]) & ((labels > 0) | ~relevant)
    return local.query, _flat(everyone.docs), _flat_columns(labels), _flat_columns(where)


def _doc_query(local, everyone, own):
    real = jnp.any(everyone.where, axis=1)[None]
    answers = _contains(everyone.known, local.doc_id[:, 0]).T  # d_i answers q_j too
    answers |= _same(local.query_id, everyone.query_id)
    return jnp.zeros(own.shape, local.labels.dtype), real & (own | ~answers)


def _query_query(local, everyone, own):
    real = jnp.any(everyone.where, axis=1)[None]
    return (
        jnp.zeros(own.shape, local.labels.dtype),
        real & ~own & ~_same(local.query_id, everyone.query_id),
    )


def _doc_doc(local, everyone, own):
    relevant = _contains(local.known, everyone.doc_id)
    relevant |= _same(local.query_id, everyone.query_id)[:, :, None] & (everyone.labels > 0)[None]
    where = everyone.where[None] & ~own[:, :, None] & ~relevant
    return jnp.zeros(_flat_columns(where).shape, local.labels.dtype), _flat_columns(where)


def _contains(lists: Array, ids: Array) -> Array:
    """[x, p] ids and [...] ids -> [x, ...]: whether list x holds the id. Never builds [x, ..., p]."""
    target = ids[None]

    def look(i, found):
        column = jax.lax.dynamic_index_in_dim(lists, i, axis=1, keepdims=False)
        column = column.reshape((-1,) + (1,) * ids.ndim)
        return found | ((column == target) & (target >= 0))

    nothing = (lists[:, :1].reshape((-1,) + (1,) * ids.ndim) == target) & False
    return jax.lax.fori_loop(0, lists.shape[1], look, nothing)


def _same(left: Array, right: Array) -> Array:
    return (left[:, None] == right[None]) & (right >= 0)[None]


def _flat(docs: Array) -> Array:
    return docs.reshape(-1, docs.shape[-1])


def _flat_columns(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)
