"""Funnel search: find candidates by a prefix of the vectors, then order them by more of their dimensions.

Vectors of Matryoshka training keep most of their ranking in the first dimensions, so the search over all
documents reads these alone (Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022, adaptive
retrieval). It proposes, the longer vectors decide: the dense sibling of :mod:`jaxir.retrieval.rescore`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxir.checks import InputError
from jaxir.retrieval.exact import Found, Search
from jaxir.retrieval.rescore import best
from jaxir.retrieval.topk import NOT_FOUND
from jaxir.retrieval.vectors import row_blocks

RERANK = 200
"""Candidates that are scored again, by default: twice the usual depth of a run."""

GATHERED_BYTES = 1 << 20
"""Of candidates' vectors in memory at once: few enough that they stay in cache until they are multiplied."""


class Funnel(NamedTuple):
    """All documents by their first ``dims`` dimensions, the ``rerank`` first by ``rerank_dims``."""

    dims: int
    rerank_dims: int
    rerank: int


def make(
    width: int, dims: int | None, rerank_dims: int | None = None, rerank: int | None = None
) -> Funnel | None:
    """The funnel over vectors of ``width`` dimensions; None where no ``dims`` are asked for.

    Args:
      rerank_dims: default all.

    Raises:
      InputError: sizes that the vectors do not have, more dimensions first than afterwards, or nothing to
        score again.
    """
    given = {"dims": dims, "rerank_dims": rerank_dims, "rerank": rerank}
    if dims is None:
        for name in ("rerank_dims", "rerank"):
            if given[name] is not None:
                raise InputError(
                    f"{name}={given[name]} is of a funnel: add dims, the dimensions of its first search"
                )
        return None
    for name, size in given.items():
        if size is not None and size < 1:
            raise InputError(f"{name} is {size}, it must be at least 1")
    for name in ("dims", "rerank_dims"):
        if (given[name] or 0) > width:
            raise InputError(
                f"{name} is {given[name]}, but the vectors have {width} dimensions: at most {width}"
            )
    rerank_dims = width if rerank_dims is None else rerank_dims
    if dims > rerank_dims:
        raise InputError(
            f"dims is {dims}, above rerank_dims {rerank_dims}: the first search takes the fewer dimensions"
        )
    return Funnel(dims, rerank_dims, RERANK if rerank is None else rerank)


def narrow(values: Float[np.ndarray, "n d"], dims: int, normalized: bool) -> Float[np.ndarray, "n e"]:
    """The first ``dims`` dimensions, normalised again where the whole is; all of them: the same values.

    >>> narrow(np.array([[3.0, 4.0, 12.0]]), 2, normalized=True).tolist()
    [[0.6, 0.8]]
    """
    if dims >= values.shape[1]:
        return values
    values = values[:, :dims]
    return unit(values) if normalized else values


def unit(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1; a row of zeros stays."""
    squares = np.einsum("ij,ij->i", values, values)
    return values / np.sqrt(np.where(squares > 0, squares, 1))[:, None]


def search(
    queries: Float[np.ndarray, "q d"],
    k: int,
    *,
    first: Search,
    docs: np.ndarray,
    size: Funnel,
    normalized: bool,
) -> Found:
    """The k best of what ``first`` finds, by their dot products over ``rerank_dims``: (scores, rows).

    Args:
      first: over the first ``dims`` dimensions of the documents.
      docs: [n, rerank_dims] float32 or float16, memory-mapped: candidates' rows are read, no others.
      normalized: prefixes are normalised again.

    Raises:
      InputError: k above ``rerank``.
    """
    if k > size.rerank:
        raise InputError(
            f"k is {k}, but the funnel scores the first {size.rerank} again and knows no others: ask for at "
            f"most {size.rerank}, or build the index with rerank={k} or more"
        )
    _, rows = first(narrow(queries, size.dims, normalized), min(size.rerank, len(docs)))
    return best(rescore(narrow(queries, size.rerank_dims, normalized), rows, docs), rows, k)


def rescore(
    queries: Float[np.ndarray, "q d"], rows: Int[np.ndarray, "q c"], docs: np.ndarray
) -> Float[np.ndarray, "q c"]:
    """The dot products of queries and their candidates; -inf where there is none."""
    scores = np.empty(rows.shape, np.float32)
    for part in row_blocks(len(rows), max(GATHERED_BYTES // (4 * rows.shape[1] * docs.shape[1]), 1)):
        found = docs[rows[part]].astype(np.float32, copy=False)
        # Not BLAS: there, the place of a row decides how it rounds, and equal documents would not tie.
        scores[part] = np.einsum("qcd,qd->qc", found, queries[part])
    scores[rows == NOT_FOUND] = -np.inf
    return scores
