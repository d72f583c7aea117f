"""All sizes of an encoder from one pass: the layers' representations side by side, and slices of them."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, issparse

from jaxir.retrieval import exact, sparse_exact
from jaxir.retrieval.sparse_vectors import SparseRows, SparseVectors
from jaxir.retrieval.vectors import row_blocks
from jaxir.types import Encoder, Params, Reps, Tokens

BLOCK = 1 << 14
"""Rows that are cut at a time."""

Search = Callable[[Any, int], tuple[np.ndarray, np.ndarray]]


def side_by_side(encoder: Encoder, layers: tuple[int, ...]) -> Encoder:
    """The encoder of the same parameters whose values are those of several layers, one after another.

    One forward pass gives them all. Queries of a table or a bag stay as they are.
    """
    asked = layers

    def encode(params: Params, tokens: Tokens, *, side: str = "query", **how: Any) -> Reps:
        found = encoder.encode(params, tokens, side=side, layers=asked, **how)
        return Reps(jnp.concatenate([reps.values for reps in found], axis=-1))

    return encoder._replace(encode=encode, dim=len(layers) * encoder.dim, normalized=False, layers=0)


class Wide(NamedTuple):
    """Texts at ``count`` layers side by side: dense [n, count * dim], or sparse rows of that width."""

    values: Any  # np.ndarray, possibly memory-mapped, or SparseRows
    dim: int  # of one layer
    normalized: bool = False  # whether each layer's vectors have length 1

    def layer(self, number: int) -> Any:
        """The values of the layer with this number in the list: a view, or sparse rows."""
        columns = slice(number * self.dim, (number + 1) * self.dim)
        return self.values[:, columns] if self.values.shape[1] > self.dim else self.values

    def cut(self, layer: Any, dims: int) -> Any:
        """The first dimensions of :meth:`layer`, or the largest terms, as :func:`jaxir.models.cut.cut_reps`.

        float32, in memory.
        """
        if issparse(layer):
            return largest_terms(layer, dims)
        return prefix(layer, dims, normalize=self.normalized and dims < self.dim)


def prefix(
    values: Float[np.ndarray, "n d"], dims: int, *, normalize: bool = False
) -> Float[np.ndarray, "n dims"]:
    """The first ``dims`` columns as float32 of their own, to length 1 if asked for; 0 stays 0.

    >>> prefix(np.array([[3.0, 4.0, 12.0]], np.float32), 2, normalize=True).round(1).tolist()
    [[0.6..., 0.8...]]
    """
    out = np.empty((len(values), dims), np.float32)
    for rows in row_blocks(len(values), BLOCK):
        out[rows] = values[rows, :dims]
        if normalize:
            length = np.linalg.norm(out[rows], axis=1, keepdims=True)
            out[rows] /= np.where(length > 0, length, 1)
    return out


def largest_terms(rows: SparseRows, k: int) -> SparseRows:
    """The k largest weights of each row, of equal ones those with the lowest term.

    >>> largest_terms(csr_array(np.array([[1.0, 3.0, 3.0, 2.0]], np.float32)), 2).toarray().tolist()
    [[0.0, 3.0, 3.0, 0.0]]
    """
    if k >= rows.shape[1]:
        return rows
    counts = np.diff(rows.indptr)
    owner = np.repeat(np.arange(rows.shape[0]), counts)
    order = np.lexsort((rows.indices, -rows.data, owner))
    rank = np.empty(rows.nnz, np.int64)
    rank[order] = np.arange(rows.nnz) - rows.indptr[owner]  # owner is sorted, so is owner[order]
    kept = rank < k
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, k))]).astype(rows.indptr.dtype)
    return csr_array((rows.data[kept], rows.indices[kept], indptr), shape=rows.shape)


def searcher(docs: Any) -> Search:
    """Exact search in documents that are in memory, dense or sparse."""
    if not issparse(docs):
        return exact.searcher(docs)
    n, dim = docs.shape
    no_ids = np.zeros(n, "S1")
    stored = SparseVectors(pathlib.Path(), docs.indptr, docs.indices, docs.data, no_ids, dim, {})
    blocks = list(sparse_exact.by_term(stored))
    return functools.partial(sparse_exact.search, blocks=lambda: blocks)


def bytes_per_row(docs: Any) -> float:
    """4 for each dimension, 8 for each active term and its weight."""
    return 8.0 * docs.nnz / docs.shape[0] if issparse(docs) else 4.0 * docs.shape[1]
