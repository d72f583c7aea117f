"""Exact top k of scores that arrive block by block, in bounded memory, ties by lowest row."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from jaxir.checks import InputError

NOT_FOUND = -1
"""Row number where nothing was found; its score is -inf."""


def check_k(k: int, n: int) -> None:
    """Raises an InputError unless 1 <= k <= n, the number of documents."""
    if k < 1:
        raise InputError(f"k is {k}, it must be at least 1")
    if k > n:
        raise InputError(f"k is {k}, but there are only {n} documents; ask for at most {n}")


class RunningTopK:
    """The k best of each query over blocks of scores that come in increasing row order.

    Every query has a threshold that k scores seen so far reach. A later score must lie strictly
    above it to enter (an equal one has a higher row and loses the tie), so one comparison per score
    replaces a partition of all of them. What passes is kept unsorted; when it has grown to a few k
    per query, the thresholds are raised and what fell below is dropped.

    >>> top = RunningTopK(queries=1, k=2)
    >>> top.update(np.array([[1.0, 3.0, 1.0]], np.float32), first_row=0)
    >>> top.update(np.array([[2.0, 3.0]], np.float32), first_row=3)
    >>> [a.tolist() for a in top.result()]
    [[[3.0, 3.0]], [[1, 4]]]

    Args:
      above: scores must lie strictly above this.
    """

    def __init__(self, queries: int, k: int, *, above: float = -np.inf):
        self.queries, self.k = queries, k
        self._lowest = np.nextafter(np.float32(above), np.float32(np.inf))
        self._threshold: np.ndarray | None = None  # [q, 1]
        # Candidates as (query, row, score), each part in increasing row order per query.
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._size = 0

    def update(self, scores: Float[np.ndarray, "q n"], first_row: int) -> None:
        """Takes the scores of rows ``first_row`` ... ``first_row + n - 1``; -inf never enters."""
        n = scores.shape[1]
        if self._threshold is not None:
            passed = scores > self._threshold
        elif n >= self.k:
            self._threshold = np.maximum(_reached_by_k(scores, self.k), self._lowest)
            passed = scores >= self._threshold
        else:
            passed = scores >= self._lowest
        flat = np.flatnonzero(passed)
        if not len(flat):
            return
        query = flat // n
        self._parts.append((query, flat - query * n + first_row, scores.reshape(-1)[flat]))
        self._size += len(flat)
        if self._size > 3 * self.k * self.queries:
            self._compact()

    def result(self) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
        """(scores, rows), best first; row -1 and score -inf where there were fewer than k."""
        best_scores = np.full((self.queries, self.k), -np.inf, np.float32)
        best_rows = np.full((self.queries, self.k), NOT_FOUND, np.int64)
        if self._parts:
            query, row, score = self._joined()
            place, scores = self._padded(query, score)
            rows = np.full(scores.shape, NOT_FOUND, np.int64)
            rows[place] = row
            # Columns stand in row order, so a stable sort leaves ties in row order.
            order = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
            width = order.shape[1]
            best_scores[:, :width] = np.take_along_axis(scores, order, axis=1)
            best_rows[:, :width] = np.take_along_axis(rows, order, axis=1)
        return best_scores, best_rows

    def _compact(self) -> None:
        query, row, score = self._joined()
        _, scores = self._padded(query, score)
        if scores.shape[1] >= self.k:
            self._threshold = np.maximum(_kth(scores, self.k), self._lowest)
            keep = score >= self._threshold[query, 0]  # all ties stay: their order is row order
            query, row, score = query[keep], row[keep], score[keep]
        self._parts, self._size = [(query, row, score)], len(query)

    def _joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(self._parts) == 1:
            return self._parts[0]
        query, row, score = (np.concatenate(arrays) for arrays in zip(*self._parts))
        if self.queries > 1:  # small integers sort by radix
            dtype = np.uint16 if self.queries <= 1 << 16 else np.int64
            order = np.argsort(query.astype(dtype), kind="stable")
            query, row, score = query[order], row[order], score[order]
        return query, row, score

    def _padded(
        self, query: np.ndarray, score: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """The places [query, column] of the flat candidates, and their scores there, -inf elsewhere."""
        counts = np.bincount(query, minlength=self.queries)
        column = np.arange(len(query)) - (np.cumsum(counts) - counts)[query]
        scores = np.full((self.queries, counts.max()), -np.inf, np.float32)
        scores[query, column] = score
        return (query, column), scores


def top_k_of_row(scores: Float[np.ndarray, " n"], k: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores [k], columns [k]) of one query's finite scores, k <= n: the case where overhead counts.

    >>> [a.tolist() for a in top_k_of_row(np.array([1.0, 3.0, 1.0, 3.0], np.float32), 3)]
    [[3.0, 3.0, 1.0], [1, 3, 0]]
    """
    columns = (scores >= _reached_by_k(scores[None], k)[0]).nonzero()[0]
    values = scores[columns]
    order = (-values).argsort(kind="stable")[:k]
    return values[order], columns[order]


def merge(
    scores: Float[np.ndarray, "p q k"], rows: Int[np.ndarray, "p q k"]
) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
    """The k best of p parts' k best, where each part's rows are all above those of the part before.

    >>> rows = np.array([[[0, 2]], [[3, 7]]])
    >>> scores = np.array([[[5.0, 1.0]], [[5.0, 5.0]]], np.float32)
    >>> [a.tolist() for a in merge(scores, rows)]
    [[[5.0, 5.0]], [[0, 3]]]
    """
    k = scores.shape[2]
    # Of equal scores the earlier part's stand left, and within a part the lower row.
    scores, rows = (np.moveaxis(x, 0, 1).reshape(x.shape[1], -1) for x in (scores, rows))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _kth(scores: np.ndarray, k: int) -> np.ndarray:
    """The k-th largest of each row, [q, 1]."""
    n = scores.shape[1]
    return np.partition(scores, n - k, axis=1)[:, n - k, None]


def _reached_by_k(scores: np.ndarray, k: int) -> np.ndarray:
    """A value per row that at least k scores reach, and few more than k: [q, 1].

    The k-th largest of the maxima of groups: k groups have a maximum that is at least as large. A
    maximum over groups is several times cheaper than a partition over everything.
    """
    n = scores.shape[1]
    per_group = min(n // (8 * k), 64)
    if per_group > 1:
        groups = n // per_group
        scores = scores[:, : per_group * groups].reshape(-1, per_group, groups).max(axis=1)
    return _kth(scores, k)
