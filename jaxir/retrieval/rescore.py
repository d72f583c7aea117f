"""Exact scores for what an approximate engine of sparse retrieval found, and how much of it it found.

Engines quantise: their scores are not comparable with anybody else's. So an index keeps the vectors beside
the engine's own files, and every candidate is scored again from them, in float32.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from jaxir.checks import InputError
from jaxir.retrieval.exact import Found
from jaxir.retrieval.sparse_vectors import FILES, SparseRows, SparseVectors
from jaxir.retrieval.topk import NOT_FOUND
from jaxir.retrieval.vectors import open_array, row_blocks, save_array

Candidates = Callable[[SparseRows, int], Int[np.ndarray, "q c"]]
"""What an engine is: ``(queries, count) -> rows``, at most ``count`` per query, filled up with -1."""

TABLE_BYTES = 1 << 24
"""Of some queries as dense rows."""


class Stored(NamedTuple):
    """Sparse rows on disk by document, memory-mapped."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    dim: int

    def take(self, rows: Int[np.ndarray, " r"]) -> SparseRows:
        """Any rows, in this order."""
        starts = self.indptr[rows]
        counts = self.indptr[rows + 1] - starts
        indptr = np.concatenate([[0], np.cumsum(counts)])
        at = np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])
        data = self.values[at].astype(np.float32, copy=False)
        return csr_array((data, self.indices[at], indptr.astype(np.int32)), shape=(len(rows), self.dim))


def keep(source: SparseVectors, directory: pathlib.Path) -> None:
    """Copies the vectors into an index."""
    for name, array in zip(FILES, (source.indptr, source.indices, source.values)):
        save_array(directory / name, array)


def stored(directory: pathlib.Path, n: int, dim: int) -> Stored:
    """Opens what :func:`keep` wrote.

    Raises:
      InputError: arrays of other sizes.
    """
    indptr, indices, values = (open_array(directory / name) for name in FILES)
    if indptr.shape != (n + 1,) or not indices.shape == values.shape == (int(indptr[-1]),):
        raise InputError(f"{directory} is damaged: its arrays do not have the sizes of its manifest")
    return Stored(indptr, indices, values, dim)


def search(queries: SparseRows, k: int, *, engine: Candidates, times: float, docs: Stored) -> Found:
    """The k best of ``times * k`` candidates of an engine, by their exact scores: (scores, rows)."""
    n = len(docs.indptr) - 1
    rows = engine(queries, min(max(round(times * k), k), n))
    return best(rescore(queries, rows, docs), rows, k)


def best(scores: Float[np.ndarray, "q c"], rows: Int[np.ndarray, "q c"], k: int) -> Found:
    """The k best of c candidates in any order: (scores, rows), ties lowest row first; -inf is none.

    >>> [a.tolist() for a in best(np.array([[1.0, 3, 3]]), np.array([[4, 9, 2]]), 2)]
    [[[3.0, 3.0]], [[2, 9]]]
    """
    rows = np.where(np.isfinite(scores), rows, np.iinfo(np.int64).max)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    missing = ((0, 0), (0, k - rows.shape[1]))
    scores = np.pad(scores, missing, constant_values=-np.inf)
    return scores, np.where(np.isfinite(scores), np.pad(rows, missing), NOT_FOUND)


def rescore(queries: SparseRows, rows: Int[np.ndarray, "q c"], docs: Stored) -> np.ndarray:
    """The dot products [q, c] of queries and their candidates; -inf where there is none or it is 0."""
    scores = np.full(rows.shape, -np.inf, np.float32)
    ones = np.ones(docs.dim, np.float32)
    for part in row_blocks(len(rows), max(TABLE_BYTES // (4 * docs.dim), 1)):
        table = queries[part].toarray()
        query, column = np.nonzero(rows[part] != NOT_FOUND)
        found = docs.take(rows[part][query, column])
        owner = np.repeat(query, np.diff(found.indptr))
        found.data *= table[owner, found.indices]
        total = found @ ones  # one after another in the order of the terms, as scipy multiplies
        scores[part.start + query, column] = np.where(total > 0, total, -np.inf)
    return scores


def recall(found: Float[np.ndarray, "q f"], truth: Float[np.ndarray, "q t"], k: int) -> float:
    """The mean share of the exact k best that were found, over the queries that find anything.

    Both are exact scores, best first, -inf where nothing was found.

    By score, so that a document that ties with the last of them counts as well.
    """
    some = np.isfinite(truth[:, 0])
    if not some.any():
        return 1.0
    exact, found = truth[some, :k], found[some, :k]
    wanted = np.isfinite(exact).sum(axis=1)
    last = np.where(np.isfinite(exact), exact, np.inf).min(axis=1)
    # What the exact search sums block by block may round in another way than one row alone.
    enough = (found >= (last - 1e-6 * np.abs(last))[:, None]).sum(axis=1)
    return float(np.mean(np.minimum(enough, wanted) / wanted))


def used_terms(source: SparseVectors) -> Int[np.ndarray, " t"]:
    """The terms that occur in any document, increasing: engines number these and no others."""
    seen = np.zeros(source.dim, bool)
    for some in row_blocks(len(source.indices), 1 << 24):
        seen[source.indices[some]] = True
    return np.flatnonzero(seen)


def renumbered(rows: SparseRows, terms: Int[np.ndarray, " t"]) -> SparseRows:
    """Rows over ``terms`` alone, which become 0, 1, 2, ...; weights of other terms are left out.

    >>> rows = csr_array(np.array([[0, 5.0, 0, 2], [7, 0, 0, 0]], np.float32))
    >>> renumbered(rows, np.array([1, 2, 3])).toarray().tolist()
    [[5.0, 0.0, 2.0], [0.0, 0.0, 0.0]]
    """
    place = np.searchsorted(terms, rows.indices)
    known = np.isin(rows.indices, terms)
    indptr = np.concatenate([[0], np.cumsum(known)])[rows.indptr]
    return csr_array((rows.data[known], place[known], indptr), shape=(rows.shape[0], len(terms)))
