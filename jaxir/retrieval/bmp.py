"""Sparse search with BMP, Block-Max Pruning: blocks of documents by their upper bound, until none can win.

Mallia, Suel, Tonellotto, Faster Learned Sparse Retrieval with Block-Max Pruning, SIGIR 2024. Needs the extra
``bmp``. Weights become impacts of 1 ... 255, and a query's weights integers up to 32 (upwards), so that with
``alpha=1`` it is exact in these and not in the weights themselves: the candidates are scored again. What
version 0.2 does and this file handles:

- A document's score is kept in 16 bits and **wraps**: 9 terms of impact 255 can score less than one. Where a
  query's largest possible score does not fit, an extra term of weight w makes its own weights smaller.
- Of all blocks that may hold a result, the one with the lowest bound is never looked at; with one block,
  nothing is found. A last block with a term of its own, which every query has with the weight 1, is that one.
- For k of 10, 100 or 1000 it starts from a threshold that results must exceed, so that ties are lost: another
  number is asked for.
- Terms are numbered with 16 bits; an unknown or empty query is a panic, as is a file that it cannot read.
"""

from __future__ import annotations

import math
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from jaxir.checks import InputError, check_positive
from jaxir.retrieval.native import quiet, writing
from jaxir.retrieval.rescore import Candidates, renumbered, used_terms
from jaxir.retrieval.sparse_vectors import SparseRows, SparseVectors
from jaxir.retrieval.topk import NOT_FOUND
from jaxir.retrieval.vectors import open_array, row_blocks, save_array

MOST_TERMS = (1 << 16) - 2
"""That 16 bits number, beside the two extra ones."""

IMPACTS = 255
QUERY_WEIGHTS = 32
MOST_SCORE = (1 << 16) - 1
STARTS_HIGH = (10, 100, 1000)
SCALE, LAST = "scale", "last"
FILE = "index.bmp"


def library() -> Any:
    """The module ``bmp``.

    Raises:
      InputError: it is not installed.
    """
    try:
        import bmp
    except ImportError as error:
        raise InputError("a BMP index needs the extra bmp: pip install 'jaxir[bmp]'") from error
    return bmp


def build(
    source: SparseVectors,
    directory: pathlib.Path,
    *,
    block_size: int = 32,
    compress: bool = False,
    alpha: float = 1.0,
    beta: float = 1.0,
    reorder: float = 2,
    progress: bool = True,
) -> dict[str, Any]:
    """Builds BMP's index and writes its file; returns what it was built with.

    Args:
      block_size: consecutive documents per block.
      compress: the blocks' bounds, without zeros: smaller and slower.
      alpha, beta, reorder: the defaults of :func:`open`.

    Raises:
      InputError: more terms than 16 bits number, or an option out of range.
    """
    check_positive("block_size", block_size)
    _check_search(alpha, beta, reorder)
    terms = used_terms(source)
    if len(terms) > MOST_TERMS:
        raise InputError(
            f"{len(terms):,} terms occur in the documents, BMP numbers {MOST_TERMS:,}: take kind seismic or "
            "sparse"
        )
    n, names = source.shape[0], [str(term) for term in range(len(terms))]
    scale = IMPACTS / float(source.values.max()) if len(source.values) else 1.0
    largest = np.zeros(len(terms), np.uint8)
    with quiet(show=progress), writing(directory):
        indexer = library().Indexer(str(directory / FILE), bsize=block_size, compress_range=compress)
        with tqdm(total=n, desc="bmp", unit=" docs", disable=not progress, mininterval=0.5) as bar:
            for some in row_blocks(n, 4096):
                rows = renumbered(source.rows(some), terms)
                impacts = np.maximum(np.rint(rows.data * scale), 1).astype(np.uint8)
                np.maximum.at(largest, rows.indices, impacts)
                columns, values = rows.indices.tolist(), impacts.tolist()
                for row, (start, stop) in enumerate(zip(rows.indptr, rows.indptr[1:]), some.start):
                    vector = {names[t]: v for t, v in zip(columns[start:stop], values[start:stop])}
                    indexer.add_document(str(row), vector)
                bar.update(some.stop - some.start)
        # Blocks of the two extra terms: the documents' last block is filled up before.
        extra: list[dict[str, int]] = [{}] * (-n % block_size)
        for name in (SCALE, LAST):
            extra += [{name: 1}, *([{}] * (block_size - 1))]
        for row, vector in enumerate(extra, n):
            indexer.add_document(str(row), vector)
        indexer.finish()
    save_array(directory / "terms.npy", terms)
    save_array(directory / "largest.npy", largest)
    facts = dict(block_size=block_size, compress=compress, impact_scale=scale)
    return {**facts, "alpha": alpha, "beta": beta, "reorder": reorder}


def open(
    directory: pathlib.Path,
    facts: dict[str, Any],
    *,
    alpha: float | None = None,
    beta: float | None = None,
    reorder: float | None = None,
) -> tuple[Candidates, float]:
    """(the engine, how many candidates it is asked for as a multiple of k).

    Args:
      facts: what :func:`build` returned.
      alpha: stops when the k-th score is above alpha times the next block's bound; 1 loses nothing.
      beta: the share of a query's terms that are kept, the heaviest.
      reorder: candidates that get exact scores, as a multiple of k.

    Raises:
      InputError: a file that BMP cannot read, or an option out of range.
    """
    alpha = facts["alpha"] if alpha is None else alpha
    beta = facts["beta"] if beta is None else beta
    reorder = facts["reorder"] if reorder is None else reorder
    _check_search(alpha, beta, reorder)
    terms, largest = open_array(directory / "terms.npy"), open_array(directory / "largest.npy")
    names = [str(term) for term in range(len(terms))]
    searcher = _load(directory / FILE)

    def candidates(queries: SparseRows, count: int) -> Int[np.ndarray, "q c"]:
        found = np.full((queries.shape[0], count), NOT_FOUND, np.int64)
        known, n = renumbered(queries, terms), int(facts["n"])
        asked = count + 2 + (count + 2 in STARTS_HIGH)  # the two extra documents may be among them
        for row, (start, stop) in enumerate(zip(known.indptr, known.indptr[1:])):
            if start == stop:
                continue
            columns, weights = known.indices[start:stop], known.data[start:stop]
            if beta < 1:  # here and not there, where it would drop the extra term
                kept = np.argsort(-weights, kind="stable")[: math.ceil(beta * len(weights))]
                columns, weights = columns[kept], weights[kept]
            query = {names[t]: w for t, w in zip(columns.tolist(), weights.tolist())}
            query[LAST] = 1e-6 * float(weights.max())
            heaviest = _fitting(weights, largest[columns])
            if heaviest is not None:
                query[SCALE] = heaviest
            docs = np.array(searcher.search(query, asked, alpha, 1.0)[0], np.int64)
            docs = docs[docs < n][:count]
            found[row, : len(docs)] = docs
        return found

    return candidates, reorder


def _fitting(weights: np.ndarray, largest: np.ndarray) -> float | None:
    """The weight of an extra term with which no score wraps; None where none is needed."""
    heaviest = start = float(weights.max())
    room = MOST_SCORE - QUERY_WEIGHTS - 1  # of the extra terms themselves
    while np.ceil(QUERY_WEIGHTS * weights / heaviest + 1e-3) @ largest.astype(np.float64) > room:
        heaviest *= 1.05
        if heaviest > 1e6 * start:
            raise InputError(f"a query has {len(weights)} terms, too many for BMP's 16-bit scores: take beta")
    return None if heaviest == start else heaviest


def _load(file: pathlib.Path) -> Any:
    try:
        with quiet():
            return library().Searcher(str(file))
    except BaseException as error:  # a panic of Rust is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(f"BMP cannot read {file}: it is damaged or of another version") from error


def _check_search(alpha: float, beta: float, reorder: float) -> None:
    for name, value in {"alpha": alpha, "beta": beta}.items():
        if not 0 < value <= 1:
            raise InputError(f"{name} is {value}, it must be above 0 and at most 1")
    if not reorder >= 1:
        raise InputError(f"reorder is {reorder}, it must be 1 or above")
