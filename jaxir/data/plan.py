"""Which examples step i trains on: a pure function of (seed, i) over one or several data sets."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxir.checks import InputError

_SLOTS = 1000  # weights are kept to a thousandth


class Drawn(NamedTuple):
    source: np.ndarray  # [b] int64, which data set
    number: np.ndarray  # [b] int64, which of its examples


class Plan:
    """``plan[i]`` are the b examples of step i.

    Each data set is gone through in an order that is shuffled anew for every epoch, without leaving
    any example out; every batch is full, so an epoch may end inside one. Data sets take turns in a
    fixed, evenly spread pattern of their weights: example by example, or batch by batch when
    ``same_source``.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        batch_size: int,
        seed: int,
        *,
        same_source: bool = False,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, it must be at least 1")
        if not sizes or min(sizes) < 1:
            raise InputError(f"every data set needs at least one example, they have {tuple(sizes)}")
        if seed < 0:
            raise InputError(f"the seed is {seed}, it must be 0 or more")
        if min(weights) <= 0:
            raise InputError(f"the weights of data sets must be above 0, got {tuple(weights)}")
        self._sizes, self._seed = np.asarray(sizes), seed
        self._batch_size, self._same_source = batch_size, same_source
        self._turns = _turns(weights)
        taken = self._turns[:, None] == np.arange(len(sizes))
        # before[j, s]: how many of the pattern's first j turns are data set s's.
        self._before = np.concatenate([np.zeros((1, len(sizes)), np.int64), taken.cumsum(axis=0)])
        # Two epochs of each data set: a batch may lie across an epoch's end.
        self._order = functools.lru_cache(maxsize=2 * len(sizes) + 2)(self._shuffled)

    def __getitem__(self, step: int) -> Drawn:
        b = self._batch_size
        turn = np.array([step]) if self._same_source else np.arange(step * b, (step + 1) * b)
        round_, at = np.divmod(turn, len(self._turns))
        source = self._turns[at]
        place = round_ * self._before[-1, source] + self._before[at, source]
        if self._same_source:
            source, place = np.repeat(source, b), place[0] * b + np.arange(b)
        number = np.empty(b, np.int64)
        epoch, within = np.divmod(place, self._sizes[source])
        for s, e in np.unique(np.stack([source, epoch], axis=1), axis=0):
            mine = (source == s) & (epoch == e)
            number[mine] = self._order(int(s), int(e))[within[mine]]
        return Drawn(source, number)

    def _shuffled(self, source: int, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, source, epoch))
        return rng.permutation(self._sizes[source])


def _turns(weights: Sequence[float]) -> np.ndarray:
    """The repeating pattern of turns: data set s in proportion to its weight, evenly spread.

    >>> _turns([2, 1]).tolist()
    [0, 1, 0]
    """
    if len(weights) == 1:
        return np.zeros(1, np.int64)
    share = np.asarray(weights, np.float64) / np.sum(weights)
    for length in range(len(weights), _SLOTS + 1):  # the shortest pattern that has these weights
        counts = np.maximum(np.round(share * length), 1).astype(np.int64)
        if np.abs(counts - share * length).max() < 1e-6 * length:
            break
    # Each data set's turns at the middles of equal parts of the pattern, merged.
    middles = np.concatenate([(np.arange(c) + 0.5) / c for c in counts])
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner[np.lexsort((owner, middles))]
