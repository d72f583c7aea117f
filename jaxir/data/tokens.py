"""Token ids of a data set's texts, each text tokenised once while memory allows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from jaxir.data.ragged import Ragged, positions

Encode = Callable[[list[int]], Sequence[np.ndarray]]
"""Rows of the data set -> their token ids."""


class TokenStore:
    """``store.take(rows)`` are the ids of the texts in those rows, as one :class:`Ragged`.

    Tokens are kept one after another in one array (2 bytes each for vocabularies up to 65,536, and 12
    bytes a text) up to ``budget`` bytes; what does not fit is tokenised anew each time. Threads may
    share it: one tokenises at a time (the tokenizer itself uses all cores), all read.
    """

    def __init__(
        self, encode: Encode, rows: int, max_tokens: int, vocab_size: int, *, budget: int = 1 << 30
    ) -> None:
        dtype = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.int32)
        self._encode, self._lock = encode, threading.Lock()
        # Memory that is not written to is not taken from the machine.
        self._flat = np.empty(min(budget // dtype.itemsize, rows * max_tokens), dtype)
        self._used = 0
        self._starts = np.zeros(rows, np.int64)
        self._lengths = np.full(rows, -1, np.int32)  # -1: not kept

    def take(self, rows: np.ndarray) -> Ragged:
        """The token ids, int32, of the given rows, in their order and as often as they occur."""
        fresh = self._fill(rows)
        if not fresh:
            starts, lengths = self._starts[rows], self._lengths[rows].astype(np.int64)
            return Ragged(self._flat[positions(starts, lengths)].astype(np.int32), lengths)
        wanted, where = np.unique(rows, return_inverse=True)
        kept = [fresh.get(int(row)) for row in wanted]
        parts = [
            self._flat[self._starts[row] : self._starts[row] + self._lengths[row]] if ids is None else ids
            for row, ids in zip(wanted, kept)
        ]
        return Ragged.of(parts).take(where)

    def _fill(self, rows: np.ndarray) -> dict[int, np.ndarray]:
        """Tokenises what is not kept yet; returns what there was no room for."""
        if (self._lengths[rows] >= 0).all():
            return {}
        fresh: dict[int, np.ndarray] = {}
        with self._lock:
            missing = np.unique(rows[self._lengths[rows] < 0])
            for row, ids in zip(missing, self._encode(missing.tolist())):
                end = self._used + len(ids)
                if end > len(self._flat):
                    fresh[int(row)] = ids
                    continue
                self._flat[self._used : end] = ids
                self._starts[row] = self._used
                self._lengths[row] = len(ids)  # last: other threads read a row once it has a length
                self._used = end
        return fresh
