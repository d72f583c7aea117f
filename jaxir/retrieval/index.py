"""An index on disk: built from a directory of vectors, dense or sparse, opened for search.

``manifest.json`` (kind="index"), ``ids.npy``, ``arrays/``. Everything in it is data: nothing is imported
or unpickled because an index says so.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from jaxir.checks import InputError, check_known
from jaxir.files import PathLike, new_directory, read_manifest, write_manifest
from jaxir.retrieval import exact, hosts, sparse_index, sparse_vectors, vectors
from jaxir.retrieval.ids import unpack_ids
from jaxir.retrieval.topk import check_k
from jaxir.retrieval.vectors import open_array, row_blocks

DENSE_KINDS = ("exact", "scann")
SPARSE_KINDS = sparse_index.KINDS
KINDS = (*DENSE_KINDS, *SPARSE_KINDS)
EXACT_KINDS = ("exact", "sparse")
METRICS = ("dot", "cosine")
BLOCK_BYTES = 1 << 25
KEPT_FACTS = ("side", "normalized", "model", "model_path", "source", "settings")


class Index(NamedTuple):
    """An opened index.

    ``search(queries, k) -> (scores [q, k] float32, rows [q, k] int64)`` for queries [q, d] float32, or
    sparse rows of them for an index of sparse vectors:
    best first, ties lowest row first, row -1 and score -inf where nothing was found. It raises an
    InputError for k above the corpus, another dimension, or a query that is not finite (or, of sparse ones,
    negative). A sparse query finds only documents with which it has a term in common.
    """

    kind: str
    path: pathlib.Path
    ids: np.ndarray  # [n] bytes
    dim: int
    metric: str
    manifest: dict[str, Any]
    search: Callable[[Any, int], tuple[np.ndarray, np.ndarray]]

    @property
    def size(self) -> int:
        """The number of documents."""
        return len(self.ids)

    def doc_ids(self, rows: np.ndarray) -> list[str]:
        """The ids of some rows, without those where nothing was found."""
        return unpack_ids(self.ids[rows[rows >= 0]])


def build(
    vectors_path: PathLike,
    out: PathLike,
    *,
    kind: str | None = None,
    metric: str = "dot",
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> None:
    """Builds an index from a directory of vectors.

    Args:
      vectors_path: what ``jaxir encode``, :func:`jaxir.retrieval.vectors.write` or
        :func:`jaxir.retrieval.sparse_vectors.write` wrote.
      out: the index directory; it appears whole or not at all.
      kind: "exact" or "scann" for dense vectors, "sparse" (exact), "seismic" or "bmp" for sparse ones;
        None = the exact one.
      metric: "dot", or for dense vectors "cosine": then documents are normalised now and queries when they
        come.
      options: of the kind: those of ``build`` of :mod:`jaxir.retrieval.scann`,
        :mod:`jaxir.retrieval.seismic` or :mod:`jaxir.retrieval.bmp`. ``queries`` is an array of typical
        queries or a directory of their vectors; recall is measured on them.

    Raises:
      InputError: an unknown kind, metric or option, a kind for other vectors than these, a torn source,
        vectors that are not finite, negative weights, or an engine that is not installed.
    """
    if kind is None:
        kind = "sparse" if read_manifest(vectors_path, "vectors").get("layout") == "sparse" else "exact"
    check_known("kind of index", kind, KINDS)
    check_known("metric", metric, METRICS)
    if kind in SPARSE_KINDS:
        return _build_sparse(vectors_path, out, kind, metric, overwrite, progress, options)
    source = vectors.read(vectors_path)
    n, dim = source.values.shape
    if not n:
        raise InputError(f"{source.path} holds no vectors: there is nothing to index")
    if kind == "exact" and options:
        raise InputError(f"an exact index has no options, given: {', '.join(options)}; or take kind scann")
    if kind == "scann":
        from jaxir.retrieval import scann

        sparse_index.check_options(scann.build, "ScaNN", options)
    with new_directory(out, overwrite=overwrite) as work:
        arrays = work / "arrays"
        arrays.mkdir()
        vectors.save_array(work / "ids.npy", source.ids)
        if kind == "exact":
            facts = _build_exact(source, arrays, metric, progress)
        else:
            if isinstance(options.get("queries"), (str, os.PathLike)):
                options["queries"] = vectors.read(options["queries"]).values.astype(np.float32)
            if options.get("queries") is not None:
                options["queries"] = check_queries(options["queries"], dim, metric)
            values = np.empty((n, dim), np.float32)
            for rows, block in _blocks(source, metric, progress):
                values[rows] = block
            facts = {"options": scann.build(values, arrays, **options)}
        kept = _kept(source.manifest)
        kept["normalized"] = bool(kept.get("normalized")) or metric == "cosine"
        write_manifest(work, "index", index_kind=kind, n=n, dim=dim, metric=metric, **kept, **facts)


def _build_sparse(
    vectors_path: PathLike,
    out: PathLike,
    kind: str,
    metric: str,
    overwrite: bool,
    progress: bool,
    options: dict[str, Any],
) -> None:
    source = sparse_vectors.read(vectors_path)
    (n, dim), is_exact = source.shape, kind == sparse_index.EXACT
    if not n:
        raise InputError(f"{source.path} holds no vectors: there is nothing to index")
    if metric != "dot":
        raise InputError(
            f"sparse vectors are compared by their dot product; metric {metric!r} is for dense ones"
        )
    if is_exact and options:
        raise InputError(
            f"a sparse index has no options, given: {', '.join(options)}; or take kind seismic or bmp"
        )
    if not is_exact:
        named = {name: value for name, value in options.items() if name != "queries"}
        sparse_index.check_options(sparse_index.engine_of(kind).build, kind, named)
    with new_directory(out, overwrite=overwrite) as work:
        (work / "arrays").mkdir()
        vectors.save_array(work / "ids.npy", source.ids)
        facts = sparse_index.build(source, work / "arrays", kind, options, progress=progress)
        sizes = dict(index_kind=kind, n=n, dim=dim, metric=metric)
        write_manifest(work, "index", **sizes, **_kept(source.manifest), **facts)


def _kept(manifest: dict[str, Any]) -> dict[str, Any]:
    return {name: manifest[name] for name in KEPT_FACTS if name in manifest}


def open(
    path: PathLike,
    *,
    backend: str = "auto",
    verify: bool = False,
    over_processes: bool = False,
    **options: Any,
) -> Index:
    """Opens an index for search.

    Args:
      backend: for an exact index "numpy", "jax" or "auto" (:func:`jaxir.retrieval.exact.searcher`,
        :func:`jaxir.retrieval.sparse_exact.searcher`).
      verify: also compares the files' checksums with the manifest.
      over_processes: each of several processes holds its part of an exact index, and all call ``search``
        together (:mod:`jaxir.retrieval.hosts`). Every other index is held and searched by each alone.
      options: for scann ``leaves_to_search`` and ``reorder``; for seismic and bmp those of their ``open``;
        for exact those of :func:`jaxir.retrieval.exact.device_searcher`, for sparse those of
        :func:`jaxir.retrieval.sparse_device.searcher`.

    Raises:
      InputError: no index, a torn one, or one whose parts contradict each other.
    """
    path = pathlib.Path(path)
    manifest = read_manifest(path, "index", verify=verify)
    kind, metric = manifest.get("index_kind"), manifest.get("metric")
    n, dim = manifest.get("n"), manifest.get("dim")
    if kind not in KINDS or metric not in METRICS or not all(isinstance(x, int) for x in (n, dim)):
        raise InputError(f"{path} is damaged: its manifest says {kind!r}, {metric!r}, {n} x {dim}")
    ids = open_array(path / "ids.npy")
    if kind == "exact":
        values = open_array(path / "arrays" / "vectors.npy")
        consistent = values.shape == (n, dim) and str(values.dtype) in vectors.DTYPES
        searcher = hosts.searcher if over_processes else exact.searcher
        search = searcher(values, backend=backend, **options) if consistent else None
    elif kind in SPARSE_KINDS:
        consistent = isinstance(manifest.get("nnz"), int)
        arrays = path / "arrays"
        search = (
            sparse_index.open(arrays, kind, (n, dim), manifest, backend=backend, **options)
            if consistent
            else None
        )
    else:
        from jaxir.retrieval import scann

        sparse_index.check_options(scann.open, "ScaNN", options)
        search = scann.open(path / "arrays", manifest.get("options", {}), n, **options)
        consistent = True
    if search is None or not consistent or ids.shape != (n,) or ids.dtype.kind != "S":
        raise InputError(f"{path} is damaged: its arrays do not have the sizes of its manifest")

    def checked(queries: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        check_k(k, n)
        sparse = kind in SPARSE_KINDS
        return search(
            sparse_index.check_queries(queries, dim) if sparse else check_queries(queries, dim, metric), k
        )

    return Index(kind, path, ids, dim, metric, manifest, checked)


def describe(path: PathLike) -> str:
    """One line for a person: kind, sizes, what was chosen and measured."""
    path = pathlib.Path(path)
    facts = read_manifest(path, "index")
    size = sum(file["bytes"] for file in facts["files"].values())
    line = f"{facts['index_kind']}, {facts['n']:,} documents x {facts['dim']}, {size / 1e6:,.1f} MB"
    options = facts.get("options") or {}
    if facts["index_kind"] in SPARSE_KINDS:
        line += f", {sparse_index.describe(facts)}"
    elif options.get("tree"):
        line += (
            f", {options['leaves_to_search']} of {options['leaves']} leaves searched, recall@100 "
            f"{options['measured_recall@100']:.3f} on a sample of {options['measured_on']}"
        )
    elif facts["index_kind"] == "scann":
        line += ", brute force (few documents)"
    return line


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
    return _normalised(queries, squares) if metric == "cosine" else queries


def _build_exact(
    source: vectors.Vectors, arrays: pathlib.Path, metric: str, progress: bool
) -> dict[str, Any]:
    dtype = source.values.dtype
    with (arrays / "vectors.npy").open("wb") as file:
        vectors.write_header(file, source.values.shape, dtype)
        for _, block in _blocks(source, metric, progress):
            file.write(np.ascontiguousarray(block, dtype))
    return {"dtype": str(dtype)}


def _blocks(source: vectors.Vectors, metric: str, progress: bool) -> Any:
    """(rows, float32 block) over the vectors, checked, and normalised for "cosine"."""
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
            yield rows, _normalised(block, squares) if metric == "cosine" else block
            bar.update(len(block))


def _squares(values: np.ndarray) -> np.ndarray:
    """Squared lengths. Where these are finite float32, no dot product can overflow (Cauchy-Schwarz)."""
    return np.einsum("ij,ij->i", values, values)


def _normalised(values: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return values / np.sqrt(np.where(squares > 0, squares, 1))[:, None]
