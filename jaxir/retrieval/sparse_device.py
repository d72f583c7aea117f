"""Exact search in sparse vectors on an accelerator: the same rows as on CPU, ties included.

A block of documents lies on the device as two arrays [terms, documents], padded to the block's longest
document, and a batch of queries as a dense table [vocabulary, queries]. The scores are a loop over the
terms: each step gathers one row of the table per document. Nothing is added in an order that depends on the
device, as it would be with scattered additions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxir.retrieval.exact import Found, top_k
from jaxir.retrieval.sparse_exact import Postings, SparseSearch
from jaxir.retrieval.sparse_vectors import SparseRows
from jaxir.retrieval.topk import NOT_FOUND, RunningTopK
from jaxir.retrieval.vectors import row_blocks
from jaxir.types import Array

QUERIES_AT_ONCE = 256
TABLE_BYTES = 1 << 28
"""Of a batch of queries as a dense table."""


def searcher(
    postings: Postings, *, device: jax.Device | None = None, device_bytes: int | None = None
) -> SparseSearch:
    """``search(queries, k)`` on one device.

    Args:
      device: default the first of this process.
      device_bytes: how much of its memory may hold documents. By default 60% of what is free. What does not
        fit is streamed from the host for each search.
    """
    device = jax.local_devices()[0] if device is None else device
    if device_bytes is None:
        stats = device.memory_stats() or {}
        device_bytes = int(0.6 * (stats.get("bytes_limit", 1 << 62) - stats.get("bytes_in_use", 0)))
    held: dict[int, tuple[Array, Array]] = {}
    free = [device_bytes]

    def blocks() -> Iterator[tuple[int, tuple[Array, Array]]]:
        if len(held) == len(postings.indptr):
            yield from sorted(held.items())
            return
        for block in postings.blocks():
            first = block.first
            if first in held:
                yield first, held[first]
                continue
            arrays = padded(block.matrix())
            size = sum(a.nbytes for a in arrays)
            placed = jax.device_put(arrays, device)
            if size <= free[0]:
                held[first] = placed
                free[0] -= size
            yield first, placed

    def search(queries: SparseRows, k: int) -> Found:
        at_once = max(min(QUERIES_AT_ONCE, TABLE_BYTES // (4 * postings.dim)), 1)
        parts = list(row_blocks(queries.shape[0], at_once))
        tables = [jax.device_put(_table(queries[part]), device) for part in parts]
        best = [jax.device_put(_nothing(table.shape[1], k), device) for table in tables]
        for first, (terms, weights) in blocks() if parts else ():
            before = best
            best = [_update(table, terms, weights, first, *old) for table, old in zip(tables, best)]
            jax.block_until_ready(before)  # or all blocks of a streamed corpus would wait on the device
        results = [_found(*b, part.stop - part.start) for b, part in zip(best, parts)]
        scores, rows = zip(*(results or [RunningTopK(0, k).result()]))
        return np.concatenate(scores), np.concatenate(rows)

    return search


def padded(block: SparseRows) -> tuple[Int[np.ndarray, "m n"], Float[np.ndarray, "m n"]]:
    """Documents by term [dim, n] -> the terms and weights of each in order, [most, n], padded with weight 0.

    ``most`` is a power of two, so that few programs are compiled.
    """
    docs = block.T.tocsr()
    counts = np.diff(docs.indptr)
    most = 1 << max(int(counts.max(initial=1)) - 1, 0).bit_length()
    terms = np.zeros((most, docs.shape[0]), np.int32)
    weights = np.zeros((most, docs.shape[0]), np.float32)
    doc = np.repeat(np.arange(docs.shape[0]), counts)
    place = np.arange(docs.nnz) - docs.indptr[doc]
    terms[place, doc], weights[place, doc] = docs.indices, docs.data
    return terms, weights


def _table(queries: SparseRows) -> Float[np.ndarray, "v q"]:
    """Dense, with queries up to a power of two."""
    count = 1 << max(queries.shape[0] - 1, 0).bit_length()
    table = np.zeros((queries.shape[1], count), np.float32)
    table[queries.indices, np.repeat(np.arange(queries.shape[0]), np.diff(queries.indptr))] = queries.data
    return table


def _nothing(queries: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), NOT_FOUND, np.int32)


@jax.jit
def _update(
    table: Float[Array, "v q"],
    terms: Int[Array, "m n"],
    weights: Float[Array, "m n"],
    first: Array | int,
    best_scores: Float[Array, "q k"],
    best_rows: Int[Array, "q k"],
) -> tuple[Array, Array]:
    """The k best of those so far and of a block of documents from row ``first`` on."""
    k, n = best_scores.shape[1], terms.shape[1]

    def add(scores: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
        term, weight = one
        return scores + weight[:, None] * table[term], None

    scores, _ = jax.lax.scan(add, jnp.zeros((n, table.shape[1]), jnp.float32), (terms, weights))
    scores = jnp.where(scores > 0, scores, -jnp.inf).T
    new_scores, columns = top_k(scores, min(k, n))
    new_rows = jnp.where(jnp.isfinite(new_scores), first + columns.astype(jnp.int32), NOT_FOUND)
    all_scores = jnp.concatenate([best_scores, new_scores], axis=1)  # earlier rows stand left
    all_rows = jnp.concatenate([best_rows, new_rows], axis=1)
    best, order = jax.lax.top_k(all_scores, k)
    return best, jnp.take_along_axis(all_rows, order, axis=1)


def _found(scores: Any, rows: Any, count: int) -> Found:
    return np.asarray(scores)[:count], np.asarray(rows)[:count].astype(np.int64)
