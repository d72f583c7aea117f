"""Rows of uneven length, one after another in one array: what a batch is before it is padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Ragged(NamedTuple):
    """r rows with t values in all.

    >>> Ragged.of([[1, 2], [], [3]]).take([2, 0]).flat.tolist()
    [3, 1, 2]
    """

    flat: np.ndarray  # [t]
    lengths: np.ndarray  # [r] int64

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray], dtype: type = np.int32) -> Ragged:
        """From a list of rows."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        return cls(np.concatenate([*rows, np.zeros(0)]).astype(dtype), lengths)

    @property
    def starts(self) -> np.ndarray:
        """Where each row begins in ``flat``: [r] int64."""
        return np.cumsum(self.lengths) - self.lengths

    def take(self, rows: Sequence[int] | np.ndarray) -> Ragged:
        """The given rows, in the given order."""
        rows = np.asarray(rows, np.int64)
        return Ragged(*gather(self.flat, self.starts[rows], self.lengths[rows]))

    def cut(self, limit: int | np.ndarray) -> Ragged:
        """Every row's first ``limit`` values; of an array [r], each row's own limit."""
        return Ragged(*gather(self.flat, self.starts, np.minimum(self.lengths, limit)))

    def surround(self, head: Sequence[int], tail: Sequence[int]) -> Ragged:
        """Every row with ``head`` before and ``tail`` behind it."""
        if not len(head) and not len(tail):
            return self
        lengths = self.lengths + len(head) + len(tail)
        flat = np.empty(int(lengths.sum()), self.flat.dtype)
        starts = np.cumsum(lengths) - lengths
        flat[positions(starts + len(head), self.lengths)] = self.flat
        flat[starts[:, None] + np.arange(len(head))] = head
        flat[(starts + lengths - len(tail))[:, None] + np.arange(len(tail))] = tail
        return Ragged(flat, lengths)

    def beside(self, other: Ragged) -> Ragged:
        """Each row with the same row of ``other`` behind it.

        >>> Ragged.of([[1], [2, 3]]).beside(Ragged.of([[7, 8], [9]])).flat.tolist()
        [1, 7, 8, 2, 3, 9]
        """
        lengths = self.lengths + other.lengths
        flat = np.empty(int(lengths.sum()), self.flat.dtype)
        starts = np.cumsum(lengths) - lengths
        flat[positions(starts, self.lengths)] = self.flat
        flat[positions(starts + self.lengths, other.lengths)] = other.flat
        return Ragged(flat, lengths)


def positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ..., start + length - 1 of each row in turn.

    >>> positions(np.array([10, 5]), np.array([2, 3])).tolist()
    [10, 11, 5, 6, 7]
    """
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def gather(flat: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pieces ``flat[start : start + length]`` one after another, and their lengths."""
    return flat[positions(starts, lengths)], lengths
