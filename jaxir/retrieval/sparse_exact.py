"""Exact search in sparse vectors: the documents by term, block by block, in bounded memory.

A query's score of a document is the dot product of their weights; a document without a term in common is not
found. Only lists of the query's own terms are read. Queries that have many terms in common share the reading:
their lists times a small dense matrix of weights. Others are multiplied as scipy does it. A query alone with
few postings adds its lists one by one. All three add in the order of the terms, in float32.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csc_array, csr_array
from tqdm import tqdm

from jaxir.checks import InputError, check_known
from jaxir.retrieval.exact import Found
from jaxir.retrieval.sparse_vectors import SparseRows, SparseVectors, slice_of
from jaxir.retrieval.topk import RunningTopK
from jaxir.retrieval.vectors import open_array, row_blocks, save_array, write_header

SparseSearch = Callable[[SparseRows, int], Found]
"""``search(queries [q, dim], k) -> (scores [q, k], rows [q, k])``."""

BLOCK_DOCS = 16_384
"""Documents per block: the scores of a group of queries stay in cache."""

TOGETHER = 16
"""Queries that share the reading of the lists of all their terms."""

SHARED = 1.6
"""From so many times the lists' own length, read by all queries of a group, on sharing them is faster."""

SHORT = 20_000
"""Postings of a query alone up to which adding its lists one by one costs less than a matrix of them."""

SCORES_AT_ONCE = 256
"""Queries whose scores of a block are compared with their thresholds together."""

COMPARED = 1 << 20
"""Scores from which on they are compared with thresholds: of few queries those of several blocks at once."""

FILES = ("indptr.npy", "rows.npy", "values.npy")


class Block(NamedTuple):
    """Consecutive documents from row ``first`` on; term t's list is ``indptr[t]`` ... ``indptr[t + 1]``."""

    first: int
    docs: int
    indptr: np.ndarray  # [dim + 1] int32
    rows: np.ndarray  # [nnz] int32, a document's row in this block
    values: np.ndarray  # [nnz] float32 or float16

    def matrix(self) -> SparseRows:
        """[dim, docs]."""
        data = self.values.astype(np.float32, copy=False)
        return csr_array((data, self.rows, self.indptr), shape=(len(self.indptr) - 1, self.docs))

    def lists(self, terms: Int[np.ndarray, " t"]) -> list[slice]:
        """Where the lists of some terms lie in ``rows`` and ``values``."""
        return [slice(a, b) for a, b in zip(self.indptr[terms].tolist(), self.indptr[terms + 1].tolist())]

    def scores_of_one(self, query: SparseRows) -> Float[np.ndarray, "1 docs"]:
        out = np.zeros(self.docs, np.float32)
        for some, weight in zip(self.lists(query.indices), query.data):
            out[self.rows[some]] += weight * self.values[some]  # a row is once in a list
        return out[None]

    def scores_of_group(self, group: Group) -> Float[np.ndarray, "q docs"]:
        lists = [slice(0, 0), *self.lists(group.terms)]
        offsets = np.cumsum([some.stop - some.start for some in lists], dtype=np.int32)
        rows = np.concatenate([self.rows[some] for some in lists])
        values = np.concatenate([self.values[some] for some in lists]).astype(np.float32, copy=False)
        return (csc_array((values, rows, offsets), shape=(self.docs, len(group.terms))) @ group.weights).T


class Group(NamedTuple):
    """A few queries over the terms that any of them has."""

    at: slice
    terms: np.ndarray  # [t]
    weights: np.ndarray  # [t, q] float32


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
            arrays = self.indptr[number], self.rows[some], self.values[some]
            yield Block(docs.start, docs.stop - docs.start, *arrays)


def build(source: SparseVectors, directory: pathlib.Path, *, progress: bool = True) -> dict[str, Any]:
    """Writes the postings of ``source`` into an existing empty directory; returns facts about them."""
    (n, dim), nnz = source.shape, len(source.values)
    starts, blocks, indptr = [0], -(-n // BLOCK_DOCS), np.zeros((-(-n // BLOCK_DOCS), dim + 1), np.int32)
    empty = 0
    with (directory / FILES[1]).open("wb") as rows, (directory / FILES[2]).open("wb") as values:
        write_header(rows, (nnz,), np.int32)
        write_header(values, (nnz,), source.values.dtype)
        bar = tqdm(total=n, desc="index", unit=" docs", disable=not progress, mininterval=0.5)
        for number, block in enumerate(by_term(source)):
            indptr[number] = block.indptr
            rows.write(block.rows.astype(np.int32, copy=False))
            values.write(block.values.astype(source.values.dtype, copy=False))
            starts.append(starts[-1] + len(block.rows))
            some = source.indptr[block.first : block.first + block.docs + 1]
            empty += int((np.diff(some) == 0).sum())
            bar.update(block.docs)
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
        block = source.rows(docs).T.tocsr()
        yield Block(docs.start, docs.stop - docs.start, block.indptr, block.indices, block.data)


def search(queries: SparseRows, k: int, *, blocks: Callable[[], Iterable[Block]]) -> Found:
    """The k best documents per query with a score above 0: (scores, rows), best first, ties lowest row first.

    Scores are those of scipy's ``queries @ docs.T``.
    """
    parts = [queries[rows] for rows in row_blocks(queries.shape[0], SCORES_AT_ONCE)]
    groups = [_groups(part) for part in parts]
    tops = [RunningTopK(part.shape[0], k, above=0.0) for part in parts]
    waiting: list[list[np.ndarray]] = [[] for _ in parts]
    for block in blocks() if parts else ():
        end = block.first + block.docs
        for part, group, top, scores in zip(parts, groups, tops, waiting):
            scores.append(_scores(block, part, group))
            docs = sum(some.shape[1] for some in scores)
            if docs * part.shape[0] >= COMPARED:
                top.update(np.concatenate(scores, axis=1) if len(scores) > 1 else scores[0], end - docs)
                scores.clear()
    for top, scores in zip(tops, waiting):
        if scores:
            rest = np.concatenate(scores, axis=1)
            top.update(rest, end - rest.shape[1])
    results = [top.result() for top in tops] or [RunningTopK(0, k).result()]
    scores, found = zip(*results)
    return np.concatenate(scores), np.concatenate(found)


def _scores(block: Block, part: SparseRows, groups: list[Group]) -> Float[np.ndarray, "q docs"]:
    """The scores of a block's documents."""
    if part.shape[0] == 1:
        terms = part.indices
        short = (block.indptr[terms + 1] - block.indptr[terms]).sum() < SHORT
        scores = block.scores_of_one(part) if short else block.scores_of_group(groups[0])
        return np.ascontiguousarray(scores)
    sizes = np.diff(block.indptr)
    if sizes[part.indices].sum() < SHARED * sum(sizes[group.terms].sum() for group in groups):
        return (part @ block.matrix()).toarray()
    scores = np.empty((part.shape[0], block.docs), np.float32)
    for group in groups:
        scores[group.at] = block.scores_of_group(group)
    return scores


def _groups(part: SparseRows) -> list[Group]:
    if part.shape[0] == 1:
        return [Group(slice(0, 1), part.indices, part.data[:, None])]
    return [_group(part, rows) for rows in row_blocks(part.shape[0], TOGETHER)]


def _group(part: SparseRows, rows: slice) -> Group:
    some = slice_of(part.indptr, part.indices, part.data, rows.start, rows.stop, part.shape[1])
    terms, place = np.unique(some.indices, return_inverse=True)
    weights = np.zeros((len(terms), some.shape[0]), np.float32)
    weights[place, np.repeat(np.arange(some.shape[0]), np.diff(some.indptr))] = some.data
    return Group(rows, terms, weights)
