"""A vocabulary of phrases that says something about as many documents as possible."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from jaxir.checks import check_positive


class Phrases(NamedTuple):
    """Phrases in the order in which they were chosen, and what share of the documents they cover so far."""

    phrases: list[str]
    coverage: list[float]  # in (0, 1], increasing


def maximum_coverage(
    candidates: Iterable[Iterable[str]],
    size: int,
    *,
    min_documents: int = 1,
    known: Collection[str] = (),
) -> Phrases:
    """Greedy maximum coverage: each next phrase is a candidate of the most documents without one so far.

    Of equal phrases the one seen first is taken. It ends when ``size`` phrases are chosen or no phrase
    covers another document. The greedy choice covers at least 1 - 1/e of what the best one would.
    Gains only fall, so a phrase's last known gain is an upper bound: a heap of these saves counting
    all phrases again at each step (lazy greedy).

    Args:
      candidates: for each document its candidate phrases, from any extractor.
      size: phrases to choose at most.
      min_documents: a phrase must be a candidate of as many documents.
      known: phrases that are left out, such as the tokens of the vocabulary.

    Raises:
      InputError: a size not above 0.

    >>> maximum_coverage([["a", "b"], ["b", "c"], ["c"], ["d"]], 2)
    Phrases(phrases=['b', 'c'], coverage=[0.5, 0.75])
    """
    check_positive("size", size)
    left_out = set(known)
    documents_of: dict[str, list[int]] = {}
    total = 0
    for number, phrases in enumerate(candidates):
        total = number + 1
        for phrase in dict.fromkeys(phrases):
            if phrase not in left_out:
                documents_of.setdefault(phrase, []).append(number)
    names = [name for name, documents in documents_of.items() if len(documents) >= min_documents]
    where = [np.asarray(documents_of[name]) for name in names]
    uncovered = np.ones(total, bool)
    heap = [(-len(documents), i) for i, documents in enumerate(where)]
    heapq.heapify(heap)
    chosen, coverage, covered = [], [], 0
    while heap and len(chosen) < size:
        _, i = heapq.heappop(heap)
        gain = int(uncovered[where[i]].sum())
        if not gain:
            continue
        if heap and (-gain, i) > heap[0]:
            heapq.heappush(heap, (-gain, i))
            continue
        uncovered[where[i]] = False
        covered += gain
        chosen.append(names[i])
        coverage.append(covered / total)
    return Phrases(chosen, coverage)
