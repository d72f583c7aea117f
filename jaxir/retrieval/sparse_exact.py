"""Exact search in sparse vectors: the documents by term, block by block, in bounded memory.

A query's score of a document is the dot product of their weights. Only postings of the query's own terms are
read, and some queries at a time share them: the rows of their terms times a small dense matrix of weights.
A document without a term in common is not found.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.sparse import csr_array
from tqdm import tqdm

from jaxir.checks import InputError, check_known
from jaxir.retrieval.exact import Found
from jaxir.retrieval.sparse_vectors import SparseRows, SparseVectors, slice_of
from jaxir.retrieval.topk import RunningTopK
from jaxir.retrieval.vectors import open_array, row_blocks, save_array, write_header

SparseSearch = Callable[[SparseRows, int], Found]
"""``search(queries [q, dim], k) -> (scores [q, k], rows [q, k])``."""

Block = tuple[int, SparseRows]
"""The first document's row, and the documents from there on by term: [dim, documents]."""

BLOCK_DOCS = 8192
"""Documents per block: the scores of a group of queries stay in cache."""

TOGETHER = 16
"""Queries that share a pass over the postings of all their terms."""

SCORES_AT_ONCE = 256
"""Queries whose scores of a block are compared with their thresholds together."""

FILES = ("indptr.npy", "rows.npy", "values.npy")


class Postings(NamedTuple):
    """What :func:`build` wrote, memory-mapped. Offsets count from a block's own start."""

    starts: np.ndarray  # [blocks + 1] int64, into rows and values
    indptr: np.ndarray  # [blocks, dim + 1] int32
    rows: np.ndarray  # [nnz] int32, a document's row in its block
    values: np.ndarray  # [nnz] float32 or float16
    n: int
    dim: int

    def blocks(self) -> Iterator[Block]:
        """All documents, in order."""
        for number, docs in enumerate(row_blocks(self.n, BLOCK_DOCS)):
            some = slice(int(self.starts[number]), int(self.starts[number + 1]))
            data = self.values[some].astype(np.float32, copy=False)
            shape = (self.dim, docs.stop - docs.start)
            yield docs.start, csr_array((data, self.rows[some], self.indptr[number]), shape=shape)


def build(source: SparseVectors, directory: pathlib.Path, *, progress: bool = True) -> dict[str, Any]:
    """Writes the postings of ``source`` into an existing empty directory; returns facts about them."""
    (n, dim), nnz = source.shape, len(source.values)
    starts, blocks, indptr = [0], -(-n // BLOCK_DOCS), np.zeros((-(-n // BLOCK_DOCS), dim + 1), np.int32)
    empty = 0
    with (directory / FILES[1]).open("wb") as rows, (directory / FILES[2]).open("wb") as values:
        write_header(rows, (nnz,), np.int32)
        write_header(values, (nnz,), source.values.dtype)
        bar = tqdm(total=n, desc="index", unit=" docs", disable=not progress, mininterval=0.5)
        for number, (first, block) in enumerate(by_term(source)):
            indptr[number] = block.indptr
            rows.write(block.indices.astype(np.int32, copy=False))
            values.write(block.data.astype(source.values.dtype, copy=False))
            starts.append(starts[-1] + block.nnz)
            some = source.indptr[first : first + block.shape[1] + 1]
            empty += int((np.diff(some) == 0).sum())
            bar.update(block.shape[1])
        bar.close()
    save_array(directory / FILES[0], indptr)
    save_array(directory / "starts.npy", np.array(starts, np.int64))
    return {"nnz": nnz, "empty": empty, "blocks": blocks, "dtype": str(source.values.dtype)}


def open(directory: pathlib.Path, n: int, dim: int, nnz: int) -> Postings:
    """Opens what :func:`build` wrote.

    Raises:
      InputError: arrays of other sizes.
    """
    indptr, rows, values = (open_array(directory / name) for name in FILES)
    starts = open_array(directory / "starts.npy")
    blocks = -(-n // BLOCK_DOCS)
    consistent = (
        indptr.shape == (blocks, dim + 1)
        and starts.shape == (blocks + 1,)
        and rows.shape == values.shape == (nnz,)
        and (np.diff(starts) == indptr[:, -1]).all()
        and starts[-1] == nnz
    )
    if not consistent:
        raise InputError(f"{directory} is damaged: its arrays do not have the sizes of its manifest")
    return Postings(starts, indptr, rows, values, n, dim)


def searcher(postings: Postings, *, backend: str = "auto", **options: Any) -> SparseSearch:
    """Search on CPU, or jitted on a device.

    Args:
      backend: "numpy", "jax" (:func:`jaxir.retrieval.sparse_device.searcher`), or "auto": numpy where jax
        runs on CPU.
      options: for the jax backend.
    """
    check_known("backend", backend, ("auto", "numpy", "jax"))
    if backend == "jax" or (backend == "auto" and jax.default_backend() != "cpu"):
        from jaxir.retrieval import sparse_device

        return sparse_device.searcher(postings, **options)
    return functools.partial(search, blocks=postings.blocks)


def by_term(source: SparseVectors) -> Iterator[Block]:
    """Vectors that are stored by document, as blocks by term."""
    for docs in row_blocks(source.shape[0], BLOCK_DOCS):
        block = source.rows(docs)
        yield docs.start, csr_array(block.T.tocsr())


def search(queries: SparseRows, k: int, *, blocks: Callable[[], Iterable[Block]]) -> Found:
    """The k best documents per query with a score above 0: (scores, rows), best first, ties lowest row first.

    Scores are summed in float32 in the order of the terms, as ``queries @ docs.T`` of scipy sums them.
    """
    q = queries.shape[0]
    parts = list(row_blocks(q, SCORES_AT_ONCE))
    groups = [[_group(queries, rows) for rows in _within(part)] for part in parts]
    tops = [RunningTopK(part.stop - part.start, k, above=0.0) for part in parts]
    for first, block in blocks() if parts else ():
        docs = block.shape[1]
        for group, top in zip(groups, tops):
            scores = np.empty((top.queries, docs), np.float32)
            for at, terms, weights in group:
                scores[at] = (block[terms].T @ weights).T
            top.update(scores, first)
    results = [top.result() for top in tops] or [RunningTopK(0, k).result()]
    scores, found = zip(*results)
    return np.concatenate(scores), np.concatenate(found)


def _within(part: slice) -> Iterator[slice]:
    for rows in row_blocks(part.stop - part.start, TOGETHER):
        yield slice(part.start + rows.start, part.start + rows.stop)


def _group(queries: SparseRows, rows: slice) -> tuple[slice, np.ndarray, np.ndarray]:
    """(the queries' places in their part, their terms [t], weights [t, queries])."""
    some = slice_of(queries.indptr, queries.indices, queries.data, rows.start, rows.stop, queries.shape[1])
    terms, place = np.unique(some.indices, return_inverse=True)
    weights = np.zeros((len(terms), some.shape[0]), np.float32)
    weights[place, np.repeat(np.arange(some.shape[0]), np.diff(some.indptr))] = some.data
    at = rows.start % SCORES_AT_ONCE
    return slice(at, at + some.shape[0]), terms, weights
