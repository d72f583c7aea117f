"""The kinds of index for sparse vectors: exact, Seismic and BMP, through one build and one open.

An exact index holds the documents by term (:mod:`jaxir.retrieval.sparse_exact`). The engines hold their own
files and the vectors by document, from which what they find is scored again (:mod:`jaxir.retrieval.rescore`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from jaxir.checks import InputError, check_known
from jaxir.retrieval import rescore, sparse_exact, sparse_vectors
from jaxir.retrieval.sparse_exact import SparseSearch
from jaxir.retrieval.sparse_vectors import SparseRows, SparseVectors

EXACT = "sparse"
ENGINES = ("seismic", "bmp")
KINDS = (EXACT, *ENGINES)

MEASURED_AT = (10, 100)
SAMPLE = 256


def engine_of(kind: str) -> Any:
    """The module of an engine.

    Raises:
      InputError: its library is not installed; the sentence names the extra.
    """
    engine = importlib.import_module(f"jaxir.retrieval.{kind}")
    engine.library()
    return engine


def check_options(fn: Callable[..., Any], kind: str, options: dict[str, Any]) -> None:
    """Raises unless all are keyword arguments of ``fn``, suggesting the nearest."""
    parameters = inspect.signature(fn).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"progress"}
    for name in options:
        check_known(f"option of a {kind} index", name, known)


def check_source(source: SparseVectors) -> None:
    """Raises an InputError for a weight or a term that no encoder writes."""
    for start in range(0, source.shape[0], sparse_exact.BLOCK_DOCS):
        rows = source.rows(slice(start, start + sparse_exact.BLOCK_DOCS))
        name = lambda row, start=start: f"document {source.ids[start + row].decode()!r} (row {start + row})"
        sparse_vectors.check_weights(rows, name)
        if rows.nnz and not 0 <= rows.indices.min() <= rows.indices.max() < source.dim:
            raise InputError(
                f"{source.path} is damaged: it has terms outside of the vocabulary of {source.dim:,}"
            )


def build(
    source: SparseVectors, arrays: pathlib.Path, kind: str, options: dict[str, Any], *, progress: bool = True
) -> dict[str, Any]:
    """Writes an index's arrays; returns the facts for its manifest.

    Args:
      options: of the engine's ``build``, and ``queries``: a directory of sparse vectors, or sparse rows, on
        which recall is measured; by default on a sample of the documents.
    """
    check_source(source)
    if kind == EXACT:
        return sparse_exact.build(source, arrays, progress=progress)
    options = dict(options)
    sample, on = _sample(source, options.pop("queries", None))
    if not len(source.values):
        raise InputError(
            f"no document of {source.path} has a term: take kind sparse, which finds nothing either"
        )
    engine = engine_of(kind)
    facts = engine.build(source, arrays, **options, progress=progress)
    facts = {**facts, "n": source.shape[0], "engine_bytes": sum(f.stat().st_size for f in arrays.iterdir())}
    rescore.keep(source, arrays)
    found_by = open(arrays, kind, source.shape, {"options": facts})
    truth_by = functools.partial(sparse_exact.search, blocks=lambda: sparse_exact.by_term(source))
    k = min(max(MEASURED_AT), source.shape[0])
    truth, measured = truth_by(sample, k)[0], {}
    for at in MEASURED_AT:
        found = found_by(sample, min(at, k))[0]
        measured[f"measured_recall@{at}"] = round(rescore.recall(found, truth, at), 4)
    return {"nnz": len(source.values), "options": {**facts, **measured, "measured_on": on}}


def open(
    arrays: pathlib.Path,
    kind: str,
    shape: tuple[int, int],
    facts: dict[str, Any],
    *,
    backend: str = "auto",
    **options: Any,
) -> SparseSearch:
    """``search(queries, k)`` over what :func:`build` wrote.

    Args:
      facts: of the index's manifest.
      backend, options: for an exact index those of :func:`jaxir.retrieval.sparse_exact.searcher`; options of
        an engine are those of its ``open``.
    """
    n, dim = shape
    if kind == EXACT:
        postings = sparse_exact.open(arrays, n, dim, facts["nnz"])
        return sparse_exact.searcher(postings, backend=backend, **options)
    engine = engine_of(kind)
    check_options(engine.open, kind, options)
    candidates, times = engine.open(arrays, facts["options"], **options)
    docs = rescore.stored(arrays, n, dim)
    return functools.partial(rescore.search, engine=candidates, times=times, docs=docs)


def check_queries(queries: Any, dim: int) -> SparseRows:
    """The queries as sparse rows [q, dim].

    Raises:
      InputError: other shapes, naming both vocabularies; NaN, infinity or a negative weight.
    """
    rows = queries if issparse(queries) else np.atleast_1d(np.asarray(queries))
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise InputError(
            f"queries have shape {rows.shape}, the index holds sparse vectors over {dim} terms: expected "
            f"(any, {dim}); encode the queries with the model that encoded the documents"
        )
    if not (isinstance(rows, SparseRows) and rows.dtype == np.float32 and rows.has_canonical_format):
        rows = sparse_vectors.rounded(csr_array(rows))
    sparse_vectors.check_weights(rows, lambda row: f"query {row}")
    return rows


def describe(facts: dict[str, Any]) -> str:
    """What a manifest says beside kind and sizes."""
    n, options = facts["n"], facts.get("options") or {}
    line = f"{facts['nnz'] / n:,.1f} terms each"
    if facts.get("empty"):
        line += f", {facts['empty']:,} documents without any"
    if options:
        measured = ", ".join(f"recall@{k} {options[f'measured_recall@{k}']:.3f}" for k in MEASURED_AT)
        line += f", {options['engine_bytes'] / 1e6:,.1f} MB of them the engine's"
        line += f", {measured} on a sample of {options['measured_on']}"
    return line


def _sample(source: SparseVectors, queries: Any) -> tuple[SparseRows, str]:
    if queries is None:
        rows, on = source, "documents"
        at = np.linspace(0, source.shape[0] - 1, min(SAMPLE, source.shape[0])).astype(int)
        stored = rescore.Stored(rows.indptr, rows.indices, rows.values, rows.dim)
        return stored.take(at), on
    if not issparse(queries):
        queries = sparse_vectors.read(queries).rows()
    queries = check_queries(queries, source.dim)
    at = np.linspace(0, queries.shape[0] - 1, min(SAMPLE, queries.shape[0])).astype(int)
    return queries[at], "queries"
