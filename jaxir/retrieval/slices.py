"""Sparse vectors as short dense ones, which ScaNN can search (DSR, arXiv:2112.04666).

The vocabulary, without its first ``drop`` entries, is dealt out to m slots like cards: entry v goes to slot
(v - drop) mod m and is number (v - drop) // m there. Of each slot the largest weight is kept, with its
number. The gated inner product counts a slot only where both texts kept the same entry:

    GIP(q, d) = sum_m q_m d_m [i^q_m = i^d_m]

For weights of at least 0, GIP(q, d) <= <q, d>, with equality where no slot holds two entries, and
GIP(q, d) <= <(q_m), (d_m)>, which is what an index of the slots' weights scores. So it proposes candidates
that are scored again:

    docs = densify(rows, slots=768, drop=999)              # rows: csr_array [n, v]
    vectors.write(folder, docs.values, ids)                # jaxir index --kind=scann, then index.open
    scores, found = search(opened.search, densify(queries, 768, 999), docs, k=100)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy.sparse import csr_array

from jaxir.checks import InputError
from jaxir.retrieval.topk import NOT_FOUND, check_k

BLOCK = 1 << 16
"""Documents whose scores are computed at a time."""


class Slices(NamedTuple):
    """The largest weight of each slot and its number in it; 0 and 0 where a slot is empty."""

    values: Float[np.ndarray, "n m"]
    numbers: Integer[np.ndarray, "n m"]
    drop: int
    dim: int  # of the vocabulary


Propose = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(queries [q, m], k) -> (scores, rows): the ``search`` of an index of the slots' weights."""


def densify(rows: Any, slots: int = 768, drop: int = 0) -> Slices:
    """One weight and one number per slot, of equal weights the lowest vocabulary entry.

    Args:
      rows: sparse (scipy) or dense [n, v] weights of at least 0.
      slots: m; with 30,522 entries and 768 slots each one deals with 40 of them.
      drop: entries at the beginning of the vocabulary that are left out, where special and unused tokens
        stand.

    Raises:
      InputError: slots or drop outside the vocabulary, a negative weight.

    >>> found = densify([[0.0, 3.0, 1.0, 2.0, 4.0]], slots=2)  # entries 0, 2, 4 and 1, 3
    >>> found.values.tolist(), found.numbers.tolist()
    ([[4.0, 3.0]], [[2, 0]])
    """
    rows = csr_array(rows, dtype=np.float32).sorted_indices()  # a copy: the caller's stay as they are
    n, dim = rows.shape
    if not 0 <= drop < dim or not 1 <= slots <= dim - drop:
        raise InputError(
            f"slots={slots} and drop={drop} do not fit a vocabulary of {dim} entries: drop must be from 0 to "
            f"{dim - 1}, and slots from 1 to what is left"
        )
    if rows.nnz and rows.data.min() < 0:
        raise InputError("a weight is negative: slices keep the largest weight, expected 0 or above")
    values = np.zeros((n, slots), np.float32)
    numbers = np.zeros((n, slots), np.min_scalar_type((dim - drop - 1) // slots))
    for start in range(0, n, BLOCK):
        block = slice(start, start + BLOCK)
        _fill(values[block], numbers[block], rows[block], drop)
    return Slices(values, numbers, drop, dim)


def _fill(values: np.ndarray, numbers: np.ndarray, rows: csr_array, drop: int) -> None:
    n, slots = values.shape
    row = np.repeat(np.arange(n), np.diff(rows.indptr))
    some = np.flatnonzero((rows.indices >= drop) & (rows.data > 0))[::-1]
    # Of several assignments to a cell the last one stays: the largest, and of equal ones the lowest entry.
    some = some[np.argsort(rows.data[some], kind="stable")]
    number, slot = np.divmod(rows.indices[some] - drop, slots)
    values[row[some], slot], numbers[row[some], slot] = rows.data[some], number


def gip(queries: Slices, docs: Slices) -> Float[np.ndarray, "q n"]:
    """Gated inner products of all pairs, exact up to float32's rounding.

    Raises:
      InputError: slices of different shapes.
    """
    _check_alike(queries, docs)
    scores = np.empty((len(queries.values), len(docs.values)), np.float32)
    for i, (value, number) in enumerate(zip(queries.values, queries.numbers)):
        active = np.flatnonzero(value)
        for start in range(0, len(docs.values), BLOCK):
            block = slice(start, start + BLOCK)
            match = docs.numbers[block][:, active] == number[active]
            scores[i, block] = np.where(match, docs.values[block][:, active], 0) @ value[active]
    return scores


def rescore(queries: Slices, docs: Slices, rows: Int[np.ndarray, "q c"]) -> Float[np.ndarray, "q c"]:
    """Gated inner products of each query with documents of its own; -inf for row -1."""
    _check_alike(queries, docs)
    scores = np.full(rows.shape, -np.inf, np.float32)
    for i, some in enumerate(rows):
        active, found = np.flatnonzero(queries.values[i]), some != NOT_FOUND
        at = np.ix_(some[found], active)
        match = docs.numbers[at] == queries.numbers[i, active]
        scores[i, found] = np.where(match, docs.values[at], 0) @ queries.values[i, active]
    return scores


def search(
    propose: Propose, queries: Slices, docs: Slices, k: int, *, candidates: int | None = None
) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
    """The k best documents by gated inner product, of an index's ``candidates`` best by the slots' weights.

    Args:
      propose: ``search`` of an index of ``docs.values``.
      candidates: None = 10 k; with all documents the result of an exact index is exact.

    Returns:
      (scores, rows), best first, ties lowest row first; row -1 and score -inf where nothing was found.

    Raises:
      InputError: k above the candidates or the corpus.
    """
    n = len(docs.values)
    check_k(k, n)
    candidates = min(10 * k if candidates is None else candidates, n)
    if candidates < k:
        raise InputError(f"{candidates} candidates cannot give {k} documents: raise candidates, or lower k")
    _, rows = propose(queries.values, candidates)
    scores = rescore(queries, docs, rows)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _check_alike(queries: Slices, docs: Slices) -> None:
    facts = [(s.values.shape[1], s.drop, s.dim) for s in (queries, docs)]
    if facts[0] != facts[1]:
        raise InputError(
            "queries and documents were sliced differently, (slots, drop, vocabulary) are "
            f"{facts[0]} and {facts[1]}: densify both alike"
        )
