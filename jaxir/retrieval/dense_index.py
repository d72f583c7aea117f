"""The kinds of index for dense vectors: exact and ScaNN, over whole vectors or as the first step of a funnel.

``vectors.npy`` or ScaNN's files, and of a funnel ``rerank.npy``, from which what the first step finds is
scored again (:mod:`jaxir.retrieval.funnel`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
from collections.abc import Generator
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from jaxir.checks import InputError
from jaxir.retrieval import exact, funnel, hosts, rescore, sparse_index, vectors
from jaxir.retrieval.exact import Search
from jaxir.retrieval.funnel import Funnel, narrow, unit
from jaxir.retrieval.vectors import Vectors, open_array, row_blocks

KINDS = ("exact", "scann")
FUNNEL = "funnel"

BLOCK_BYTES = 1 << 25
RERANK_FILE = "rerank.npy"
MEASURED_AT = (10, 100)
SAMPLE = 256

Blocks = Generator[tuple[slice, np.ndarray], None, None]


def build(
    source: Vectors,
    arrays: pathlib.Path,
    kind: str,
    metric: str,
    options: dict[str, Any],
    *,
    size: Funnel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Writes an index's arrays; returns the facts for its manifest.

    Args:
      kind: "exact" or "scann", of the whole or of a funnel's first step.
      options: of :func:`jaxir.retrieval.scann.build`; ``queries`` may be a directory of vectors. Of a funnel,
        recall against exact search at ``rerank_dims`` is measured on them, or on a sample of the documents.
      size: of a funnel; None = no funnel.
    """
    dim, options = source.values.shape[1], dict(options)
    normalized = bool(source.manifest.get("normalized")) or metric == "cosine"
    queries = options.pop("queries", None)
    if isinstance(queries, (str, os.PathLike)):
        queries = vectors.read(queries).values.astype(np.float32)
    if queries is not None:
        queries = check_queries(queries, dim, metric)
    blocks = functools.partial(_blocks, source, metric, normalized, progress=progress)
    if size is not None:
        _write(arrays / RERANK_FILE, source, size.rerank_dims, blocks(size.rerank_dims))
    width = dim if size is None else size.dims
    facts: dict[str, Any] = {}
    if kind == "exact":
        _write(arrays / vectors.FILE, source, width, blocks(width))
        facts["dtype"] = str(source.values.dtype)
    else:
        from jaxir.retrieval import scann

        values = np.empty((len(source.values), width), np.float32)
        for rows, block in blocks(width):
            values[rows] = block
        if queries is not None:
            options["queries"] = narrow(queries, width, normalized)
        facts["options"] = scann.build(values, arrays, **options)
    if size is None:
        return facts
    facts |= {"first": kind, FUNNEL: size._asdict(), "normalized": normalized}
    facts["first_bytes"] = sum(f.stat().st_size for f in arrays.iterdir() if f.name != RERANK_FILE)
    return facts | _measure(arrays, facts, len(source.values), queries)


def open(
    arrays: pathlib.Path,
    manifest: dict[str, Any],
    *,
    backend: str = "auto",
    over_processes: bool = False,
    rerank: int | None = None,
    **options: Any,
) -> Search | None:
    """``search(queries, k)`` over what :func:`build` wrote; None where the arrays contradict the manifest.

    Args:
      manifest: of the index.
      backend, over_processes: of an exact index, and of an exact first step.
      rerank: of a funnel: how many candidates are scored again, instead of as many as it was built for.
      options: of :func:`jaxir.retrieval.exact.searcher`, or of :func:`jaxir.retrieval.scann.open`.
    """
    n, dim, kind, size = manifest["n"], manifest["dim"], manifest["index_kind"], None
    if kind == FUNNEL:
        kind, size = manifest.get("first"), _size(manifest)
        if kind not in KINDS or size is None:
            return None
    if rerank is not None:
        size = funnel.make(dim, size and size.dims, size and size.rerank_dims, rerank)
    first = _open_first(
        arrays, kind, n, dim if size is None else size.dims, manifest, backend, over_processes, options
    )
    if size is None or first is None:
        return first
    docs = open_array(arrays / RERANK_FILE)
    if docs.shape != (n, size.rerank_dims) or str(docs.dtype) not in vectors.DTYPES:
        return None
    normalized = bool(manifest.get("normalized"))
    return functools.partial(funnel.search, first=first, docs=docs, size=size, normalized=normalized)


def _open_first(
    arrays: pathlib.Path,
    kind: str,
    n: int,
    dim: int,
    manifest: dict[str, Any],
    backend: str,
    over_processes: bool,
    options: dict[str, Any],
) -> Search | None:
    if kind == "exact":
        values = open_array(arrays / vectors.FILE)
        if values.shape != (n, dim) or str(values.dtype) not in vectors.DTYPES:
            return None
        return (hosts.searcher if over_processes else exact.searcher)(values, backend=backend, **options)
    from jaxir.retrieval import scann

    sparse_index.check_options(scann.open, "ScaNN", options)
    return scann.open(arrays, manifest.get("options", {}), n, **options)


def _size(manifest: dict[str, Any]) -> Funnel | None:
    """The sizes that a manifest states, or None of those that cannot be."""
    try:
        return funnel.make(manifest["dim"], **manifest[FUNNEL])
    except (InputError, KeyError, TypeError):
        return None


def check_queries(queries: np.ndarray, dim: int, metric: str = "dot") -> Float[np.ndarray, "q {dim}"]:
    """The queries as float32 [q, dim], normalised for "cosine".

    Raises:
      InputError: other shapes, naming both dimensions; NaN, infinity, or a length whose square is not
        a float32.
    """
    queries = np.asarray(queries)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(
            f"queries have shape {queries.shape}, the index holds vectors of dimension {dim}: expected "
            f"(any, {dim}); encode the queries with the model that encoded the documents"
        )
    queries = np.ascontiguousarray(queries, np.float32)
    squares = _squares(queries)
    if not np.isfinite(squares).all():
        row = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise InputError(f"the vector of query {row} has NaN, infinity or far too large values")
    return unit(queries) if metric == "cosine" else queries


def describe(facts: dict[str, Any]) -> str:
    """What a manifest says beside kind and sizes; "" of an exact index."""
    options, kind, said = facts.get("options") or {}, facts["index_kind"], []
    if kind == FUNNEL:
        size, kind = Funnel(**facts[FUNNEL]), facts["first"]
        measured = ", ".join(
            f"recall@{k} {facts[f'measured_recall@{k}']:.3f}"
            for k in MEASURED_AT
            if f"measured_recall@{k}" in facts
        )
        said = [
            f"{kind} by {size.dims} dimensions ({facts['first_bytes'] / 1e6:,.1f} MB)",
            f"the first {size.rerank} again by {size.rerank_dims}",
            f"{measured} on a sample of {facts['measured_on']}",
        ]
    if options.get("tree"):
        said.append(
            f"{options['leaves_to_search']} of {options['leaves']} leaves searched, recall@100 "
            f"{options['measured_recall@100']:.3f} on a sample of {options['measured_on']}"
        )
    elif kind == "scann":
        said.append("brute force (few documents)")
    return ", ".join(said)


def _measure(
    arrays: pathlib.Path, facts: dict[str, Any], n: int, queries: np.ndarray | None
) -> dict[str, Any]:
    """What a funnel finds of the exact first documents at its full width."""
    docs = open_array(arrays / RERANK_FILE)
    size = Funnel(**facts[FUNNEL])
    given = docs if queries is None else narrow(queries, size.rerank_dims, facts["normalized"])
    sample = given[np.linspace(0, len(given) - 1, min(SAMPLE, len(given))).astype(int)].astype(np.float32)
    manifest = {**facts, "index_kind": FUNNEL, "n": n, "dim": size.rerank_dims}
    search = open(arrays, manifest, backend="numpy")
    truth = exact.search_numpy(sample, min(max(MEASURED_AT), n), vectors=docs)[0]
    measured: dict[str, Any] = {"measured_on": "documents" if queries is None else "queries"}
    for at in MEASURED_AT:
        if search is not None and at <= size.rerank:
            found = search(sample, min(at, n))[0]
            measured[f"measured_recall@{at}"] = round(rescore.recall(found, truth, at), 4)
    return measured


def _write(path: pathlib.Path, source: Vectors, dims: int, blocks: Blocks) -> None:
    # On an error the bar ends before anything is said of it.
    with contextlib.closing(blocks), path.open("wb") as file:
        vectors.write_header(file, (len(source.values), dims), source.values.dtype)
        for _, block in blocks:
            file.write(np.ascontiguousarray(block, source.values.dtype))


def _blocks(source: Vectors, metric: str, normalized: bool, dims: int, *, progress: bool) -> Blocks:
    """(rows, float32 block) over the vectors' first dimensions, checked, and normalised for "cosine"."""
    n, dim = source.values.shape
    with tqdm(total=n, desc="index", unit=" docs", disable=not progress, mininterval=0.5) as bar:
        for rows in row_blocks(n, max(BLOCK_BYTES // (4 * dim), 1)):
            block = source.values[rows].astype(np.float32)
            squares = _squares(block)
            if not np.isfinite(squares).all():
                row = rows.start + int(np.flatnonzero(~np.isfinite(squares))[0])
                raise InputError(
                    f"the vector of document {source.ids[row].decode()!r} (row {row}) has NaN, infinity "
                    "or far too large values; encode again with a sound model, or as float32"
                )
            yield rows, narrow(unit(block) if metric == "cosine" else block, dims, normalized)
            bar.update(len(block))


def _squares(values: np.ndarray) -> np.ndarray:
    """Squared lengths. Where these are finite float32, no dot product can overflow (Cauchy-Schwarz)."""
    return np.einsum("ij,ij->i", values, values)
