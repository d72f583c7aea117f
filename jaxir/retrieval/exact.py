"""Exact search: the k rows with the largest dot products, by blocks, so memory is bounded.

On CPU numpy's matmul with a running threshold; elsewhere jitted blocks on the device, streamed from
the host when they do not fit. Both keep the lowest row where scores tie.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxir.checks import check_known
from jaxir.retrieval.topk import NOT_FOUND, RunningTopK, top_k_of_row
from jaxir.retrieval.vectors import row_blocks
from jaxir.types import Array

Found = tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]
Search = Callable[[np.ndarray, int], Found]

QUERIES_AT_ONCE = 256
"""Queries per matmul: enough for full speed, few enough that a block of scores stays in cache."""

SCORES_AT_ONCE = 1 << 22
"""Scores per matmul on CPU (16 MB); smaller blocks lose time between matmuls, larger ones the cache."""

WIDENED_BYTES = 1 << 26
"""Of a block of float16 vectors as float32."""

DEVICE_ROWS = 1 << 17
"""Documents per block on a device."""


def searcher(vectors: np.ndarray, *, backend: str = "auto", **options: Any) -> Search:
    """``search(queries [q, d] float32, k) -> (scores [q, k], rows [q, k])`` over ``vectors``.

    Args:
      vectors: [n, d] float32 or float16, possibly memory-mapped.
      backend: "numpy", "jax", or "auto": numpy where jax runs on CPU, because ``lax.top_k`` is
        several times slower than numpy there.
      options: of :func:`device_searcher`, for the jax backend.
    """
    check_known("backend", backend, ("auto", "numpy", "jax"))
    if backend == "numpy" or (backend == "auto" and jax.default_backend() == "cpu"):
        return functools.partial(search_numpy, vectors=vectors)
    return device_searcher(vectors, **options)


def search_numpy(queries: Float[np.ndarray, "q d"], k: int, *, vectors: np.ndarray) -> Found:
    """The k best rows of ``vectors`` [n, d] per query, n >= k: (scores, rows), best first.

    Documents are the outer loop: each block is read (and widened from float16) once.
    """
    (n, dim), some = vectors.shape, min(len(queries), QUERIES_AT_ONCE)
    block = max(SCORES_AT_ONCE // max(some, 1), 4096, 2 * k)
    if vectors.dtype != np.float32:
        block = min(block, max(WIDENED_BYTES // (4 * dim), 2 * k))
    elif some == 1 and n <= block:
        scores, rows = top_k_of_row((queries @ vectors.T)[0], k)
        return scores[None], rows[None]
    parts = [queries[part] for part in row_blocks(len(queries), QUERIES_AT_ONCE)]
    tops = [RunningTopK(len(part), k) for part in parts]
    buffer = np.empty(some * min(block, n), np.float32)
    for rows in row_blocks(n, block):
        docs = vectors[rows].astype(np.float32, copy=False).T
        for part, top in zip(parts, tops):
            scores = buffer[: len(part) * docs.shape[1]].reshape(len(part), -1)
            top.update(np.matmul(part, docs, out=scores), rows.start)
    results = [top.result() for top in tops] or [RunningTopK(0, k).result()]
    scores, found = zip(*results)
    return np.concatenate(scores), np.concatenate(found)


def device_searcher(
    vectors: np.ndarray,
    *,
    block_rows: int = DEVICE_ROWS,
    device_bytes: int | None = None,
) -> Search:
    """Exact search on jax's default device.

    Args:
      vectors: [n, d] float32 or float16; transferred in this type.
      block_rows: documents per matmul.
      device_bytes: how much of the device's memory may hold vectors. By default 60% of what is
        free. What does not fit is streamed from the host for each search.
    """
    n, dim = vectors.shape
    block_rows = min(block_rows, max(n, 1))
    if device_bytes is None:
        stats = jax.local_devices()[0].memory_stats() or {}
        free = stats.get("bytes_limit", 1 << 62) - stats.get("bytes_in_use", 0)
        device_bytes = int(0.6 * free)
    resident = device_bytes // max(block_rows * dim * vectors.dtype.itemsize, 1)
    held: dict[int, Array] = {}

    def blocks() -> Iterator[tuple[int, Array]]:
        for number, rows in enumerate(row_blocks(n, block_rows)):
            if number in held:
                yield rows.start, held[number]
                continue
            values = np.zeros((block_rows, dim), vectors.dtype)
            values[: rows.stop - rows.start] = vectors[rows]
            block = jax.device_put(values)
            if number < resident:
                held[number] = block
            yield rows.start, block

    def search(queries: np.ndarray, k: int) -> Found:
        parts = [_padded(queries[part]) for part in row_blocks(len(queries), QUERIES_AT_ONCE)]
        best = [_nothing(len(part), k) for part in parts]
        for start, block in blocks():
            before, best = best, [_update(part, block, start, n, *old) for part, old in zip(parts, best)]
            # Dispatch runs ahead of the device: without waiting for the block before, all blocks
            # of a streamed corpus would be on the device at once.
            jax.block_until_ready(before)
        scores = [np.asarray(s) for s, _ in best] or [np.zeros((0, k), np.float32)]
        rows = [np.asarray(r) for _, r in best] or [np.zeros((0, k), np.int32)]
        count = len(queries)
        return np.concatenate(scores)[:count], np.concatenate(rows)[:count].astype(np.int64)

    return search


def _padded(queries: np.ndarray) -> Array:
    """Rows up to a power of two, so that few shapes are compiled."""
    rows = 1 << max(len(queries) - 1, 0).bit_length()
    return jnp.asarray(np.pad(queries, ((0, rows - len(queries)), (0, 0))))


def _nothing(queries: int, k: int) -> tuple[Array, Array]:
    return jnp.full((queries, k), -jnp.inf), jnp.full((queries, k), NOT_FOUND, jnp.int32)


@jax.jit
def _update(
    queries: Array,
    block: Array,
    start: Array | int,
    n: Array | int,
    best_scores: Array,
    best_rows: Array,
) -> tuple[Array, Array]:
    """The k best of the best so far and of a block whose first row is ``start``."""
    k = best_scores.shape[1]
    scores = jax.lax.dot_general(
        queries,
        block.astype(jnp.float32),
        (((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    rows = start + jnp.arange(len(block), dtype=jnp.int32)
    scores = jnp.where(rows < n, scores, -jnp.inf)
    new_scores, columns = top_k(scores, min(k, len(block)))
    # Earlier rows stand left: top_k takes the leftmost of equal scores.
    all_scores = jnp.concatenate([best_scores, new_scores], axis=1)
    all_rows = jnp.concatenate([best_rows, rows[columns]], axis=1)
    scores, order = jax.lax.top_k(all_scores, k)
    return scores, jnp.take_along_axis(all_rows, order, axis=1)


def top_k(scores: Float[Array, "q n"], k: int, *, group: int = 64) -> tuple[Array, Array]:
    """``lax.top_k`` in two stages: the k best groups by maximum, then the k best of their members.

    Exact, ties included. A score among the k best lies in a group whose maximum is among the k best
    maxima; of groups with the k-th best score as their maximum the leftmost are taken, which hold
    the leftmost such scores. Sorting n / group maxima and k * group members is less than sorting n.
    """
    n = scores.shape[1]
    if n % group or 2 * k * group > n:
        best, columns = jax.lax.top_k(scores, k)
        return best, columns
    grouped = scores.reshape(len(scores), n // group, group)
    _, groups = jax.lax.top_k(grouped.max(axis=2), k)
    groups = jnp.sort(groups, axis=1)  # left to right, so that members are too
    members = jnp.take_along_axis(grouped, groups[:, :, None], axis=1).reshape(len(scores), -1)
    best, place = jax.lax.top_k(members, k)
    columns = jnp.take_along_axis(groups, place // group, axis=1) * group + place % group
    return best, columns
