"""An index on disk: built from a directory of vectors, dense or sparse, opened for search.

``manifest.json`` (kind="index"), ``ids.npy``, ``arrays/``. Everything in it is data: nothing is imported
or unpickled because an index says so.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxir.checks import InputError, check_known
from jaxir.files import PathLike, new_directory, read_manifest, write_manifest
from jaxir.retrieval import dense_index, funnel, sparse_index, sparse_vectors, vectors
from jaxir.retrieval.ids import unpack_ids
from jaxir.retrieval.topk import check_k
from jaxir.retrieval.vectors import open_array

DENSE_KINDS = dense_index.KINDS
SPARSE_KINDS = sparse_index.KINDS
KINDS = (*DENSE_KINDS, *SPARSE_KINDS)
EXACT_KINDS = ("exact", "sparse")
METRICS = ("dot", "cosine")
KEPT_FACTS = ("side", "normalized", "model", "model_path", "source", "settings")


class Index(NamedTuple):
    """An opened index.

    ``search(queries, k) -> (scores [q, k] float32, rows [q, k] int64)`` for queries [q, d] float32, or
    sparse rows of them for an index of sparse vectors:
    best first, ties lowest row first, row -1 and score -inf where nothing was found. It raises an
    InputError for k above the corpus, another dimension, or a query that is not finite (or, of sparse ones,
    negative). A sparse query finds only documents with which it has a term in common.
    """

    kind: str  # one of KINDS, or "funnel"
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
    dims: int | None = None,
    rerank_dims: int | None = None,
    rerank: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> None:
    """Builds an index from a directory of vectors.

    With ``dims`` it is a funnel: a search of this kind over the first ``dims`` dimensions proposes, and the
    first ``rerank`` of what it finds are ordered by their dot products over ``rerank_dims``. Prefixes are
    normalised again where the vectors are normalised.

    Args:
      vectors_path: what ``jaxir encode``, :func:`jaxir.retrieval.vectors.write` or
        :func:`jaxir.retrieval.sparse_vectors.write` wrote.
      out: the index directory; it appears whole or not at all.
      kind: "exact" or "scann" for dense vectors, "sparse" (exact), "seismic" or "bmp" for sparse ones;
        None = the exact one.
      metric: "dot", or for dense vectors "cosine": then documents are normalised now and queries when they
        come.
      dims, rerank_dims, rerank: of a funnel; default all dimensions, and
        :data:`jaxir.retrieval.funnel.RERANK` documents.
      options: of the kind: those of ``build`` of :mod:`jaxir.retrieval.scann`,
        :mod:`jaxir.retrieval.seismic` or :mod:`jaxir.retrieval.bmp`. ``queries`` is an array of typical
        queries or a directory of their vectors; recall is measured on them.

    Raises:
      InputError: an unknown kind, metric or option, a kind for other vectors than these, sizes of a funnel
        that the vectors do not have, a torn source, vectors that are not finite, negative weights, or an
        engine that is not installed.
    """
    if kind is None:
        kind = "sparse" if read_manifest(vectors_path, "vectors").get("layout") == "sparse" else "exact"
    check_known("kind of index", kind, KINDS)
    check_known("metric", metric, METRICS)
    if kind in SPARSE_KINDS:
        if any(given is not None for given in (dims, rerank_dims, rerank)):
            raise InputError(
                f"a funnel goes by the first dimensions of dense vectors, an index of kind {kind} has none: "
                "leave out dims, rerank_dims and rerank (jaxir encode --dims keeps the largest terms)"
            )
        return _build_sparse(vectors_path, out, kind, metric, overwrite, progress, options)
    source = vectors.read(vectors_path)
    n, dim = source.values.shape
    if not n:
        raise InputError(f"{source.path} holds no vectors: there is nothing to index")
    size = funnel.make(dim, dims, rerank_dims, rerank)
    named = [name for name in options if not (size and name == "queries")]
    if kind == "exact" and named:
        raise InputError(f"an exact index has no options, given: {', '.join(named)}; or take kind scann")
    if kind == "scann":
        from jaxir.retrieval import scann

        sparse_index.check_options(scann.build, "ScaNN", options)
    with new_directory(out, overwrite=overwrite) as work:
        arrays = work / "arrays"
        arrays.mkdir()
        vectors.save_array(work / "ids.npy", source.ids)
        facts = dense_index.build(source, arrays, kind, metric, options, size=size, progress=progress)
        kept = _kept(source.manifest)
        kept["normalized"] = bool(kept.get("normalized")) or metric == "cosine"
        sizes = dict(index_kind=dense_index.FUNNEL if size else kind, n=n, dim=dim, metric=metric)
        write_manifest(work, "index", **sizes, **(kept | facts))


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
      options: for scann ``leaves_to_search`` and ``reorder``; for a funnel ``rerank`` and those of its first
        search; for seismic and bmp those of their ``open``;
        for exact those of :func:`jaxir.retrieval.exact.device_searcher`, for sparse those of
        :func:`jaxir.retrieval.sparse_device.searcher`.

    Raises:
      InputError: no index, a torn one, or one whose parts contradict each other.
    """
    path = pathlib.Path(path)
    manifest = read_manifest(path, "index", verify=verify)
    kind, metric = manifest.get("index_kind"), manifest.get("metric")
    n, dim = manifest.get("n"), manifest.get("dim")
    known = (*KINDS, dense_index.FUNNEL)
    if kind not in known or metric not in METRICS or not all(isinstance(x, int) for x in (n, dim)):
        raise InputError(f"{path} is damaged: its manifest says {kind!r}, {metric!r}, {n} x {dim}")
    ids = open_array(path / "ids.npy")
    sparse, arrays = kind in SPARSE_KINDS, path / "arrays"
    if not sparse:
        search = dense_index.open(arrays, manifest, backend=backend, over_processes=over_processes, **options)
    elif isinstance(manifest.get("nnz"), int):
        search = sparse_index.open(arrays, kind, (n, dim), manifest, backend=backend, **options)
    else:
        search = None
    if search is None or ids.shape != (n,) or ids.dtype.kind != "S":
        raise InputError(f"{path} is damaged: its arrays do not have the sizes of its manifest")

    def checked(queries: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        check_k(k, n)
        if sparse:
            return search(sparse_index.check_queries(queries, dim), k)
        return search(dense_index.check_queries(queries, dim, metric), k)

    return Index(kind, path, ids, dim, metric, manifest, checked)


def describe(path: PathLike) -> str:
    """One line for a person: kind, sizes, what was chosen and measured."""
    path = pathlib.Path(path)
    facts = read_manifest(path, "index")
    size = sum(file["bytes"] for file in facts["files"].values())
    line = f"{facts['index_kind']}, {facts['n']:,} documents x {facts['dim']}, {size / 1e6:,.1f} MB"
    of = sparse_index if facts["index_kind"] in SPARSE_KINDS else dense_index
    more = of.describe(facts)
    return f"{line}, {more}" if more else line
