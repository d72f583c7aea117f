"""What the chain does with one representation of an encoder: encode, index, search, and what that costs.

A hybrid encoder has several (``encoder.parts``), each with vectors, indexes and runs of its own.
"""

from __future__ import annotations

import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from scipy.sparse import issparse

from jaxir.checks import InputError, check_known
from jaxir.data.prepared import Prepared
from jaxir.evaluation import sparsity, stages
from jaxir.evaluation.stages import Clock, Run, Split
from jaxir.evaluation.vector_checks import overlap
from jaxir.files import PathLike
from jaxir.retrieval import index, runs, sparse_vectors
from jaxir.retrieval.encode_fn import check_gives_vectors
from jaxir.retrieval.funnel import Funnel
from jaxir.retrieval.index import Index
from jaxir.retrieval.model import encode_queries
from jaxir.training.checkpoint import Model
from jaxir.types import Encoder

TIMED = 50
"""Queries that are searched one at a time, at most."""

FUNNEL = "funnel-"
"""Before the kind of its first search: the name of a funnel among the kinds of a part."""


class Part(NamedTuple):
    """One representation: its name, its kinds of index, and what ``encode`` calls it (None: the only one)."""

    name: str
    kinds: tuple[str, ...]
    part: str | None

    def runs(self) -> list[str]:
        """A run's name for each kind: ``dense_exact``, ``dense_scann``, ``sparse_exact``, ..."""
        return [run_name(self.name, kind) for kind in self.kinds]


class PartFound(NamedTuple):
    """What a part found and cost."""

    runs: dict[str, Run]  # the first is the exact one where that was asked for
    dev: Run | None  # of the development queries, in the index of the first
    indexes: dict[str, Index]  # kind -> index
    recalls: dict[str, float]  # approximate run -> share of the exact first min(100, depth)
    searches: dict[str, dict[str, float]]  # run of sparse vectors, or beside a funnel -> what it costs
    sparsity: dict[str, float]  # of sparse vectors: jaxir.evaluation.sparsity.summary
    home: pathlib.Path


def run_name(part: str, kind: str) -> str:
    return f"{part}_{'exact' if kind in index.EXACT_KINDS else kind}"


def parts_of(encoder: Encoder, kinds: Sequence[str] | None, *, size: Funnel | None = None) -> list[Part]:
    """The parts of an encoder with the kinds of index that each gets, the exact one first.

    With the ``size`` of a funnel the kinds of dense vectors are those of its first search; beside it stands
    the exact search by all dimensions.

    Args:
      kinds: "exact" is the exact one of every part; None = that alone. A part of a hybrid takes those that
        are for its vectors.

    Raises:
      InputError: no kind, an unknown one, or one for other vectors than the encoder gives.
    """
    for kind in kinds or ():
        check_known("kind of index", kind, index.KINDS)
    if kinds is not None and not kinds:
        raise InputError("give at least one kind of index, such as exact")
    given = encoder.parts if encoder.kind == "hybrid" else {encoder.kind: encoder}
    parts = []
    for name, part in (given or {}).items():
        check_gives_vectors(part)
        exact, fitting = (
            ("sparse", index.SPARSE_KINDS) if part.kind == "sparse" else ("exact", index.DENSE_KINDS)
        )
        wanted = [exact if kind in index.EXACT_KINDS[:1] else kind for kind in kinds or ("exact",)]
        others = [kind for kind in wanted if kind not in fitting]
        if others and encoder.kind != "hybrid":
            raise InputError(
                f"an index of kind {others[0]} does not hold {part.kind} vectors, as the encoder gives them: "
                f"take {', '.join(fitting)}"
            )
        chosen = [kind for kind in dict.fromkeys(wanted) if kind in fitting] or [exact]
        chosen.sort(key=lambda kind, exact=exact: kind != exact)  # stable
        if size is not None and part.kind == "dense":
            chosen = [exact, *(FUNNEL + kind for kind in chosen)]
        parts.append(Part(name, tuple(chosen), name if encoder.kind == "hybrid" else None))
    return parts


def search_part(
    part: Part,
    model: Model,
    prepared: Prepared,
    workdir: PathLike,
    test: Split,
    dev: Split | None,
    *,
    depth: int,
    options: Mapping[str, Mapping[str, Any]],
    size: Funnel | None = None,
    clock: Clock,
    mesh: Mesh | None,
    progress: bool,
) -> PartFound:
    """Encodes, indexes and searches one representation.

    Args:
      options: kind of index -> options of its ``build``. Development queries, where there are any, are what
        recall is measured on.
      size: of the funnel.
    """
    bar = "queries" if progress else None
    home = stages.home_of(model, prepared, workdir, part=part.part)
    with clock("encode"):
        vectors = stages.encode_docs(
            model,
            prepared,
            home / "vectors",
            part=part.part,
            model_path=model.path or workdir,
            mesh=mesh,
            progress=progress,
        )
        encoded = [
            None if split is None else encode_queries(model, split.texts, part=part.part, mesh=mesh, desc=bar)
            for split in (test, dev)
        ]
    queries, dev_queries = encoded
    indexes: dict[str, Index] = {}
    found: dict[str, Run] = {}
    rows: dict[str, np.ndarray] = {}
    searches: dict[str, dict[str, float]] = {}
    for kind in part.kinds:
        first_kind = kind.removeprefix(FUNNEL)
        given = dict(options.get(first_kind, {}))
        if size is not None and kind != first_kind:
            given |= size._asdict()
        if kind not in index.EXACT_KINDS:
            given["queries"] = dev_queries
        with clock(f"index_{kind}"):
            indexes[kind] = stages.build_index(vectors, home, first_kind, given, progress=progress)
        name = run_name(part.name, kind)
        with clock(f"search_{kind}"):
            scores, rows[kind] = indexes[kind].search(queries, depth)
        found[name] = runs.from_arrays(scores, rows[kind], test.ids, indexes[kind].ids)
        if issparse(queries) or size is not None:
            searches[name] = _cost(indexes[kind], queries, depth)
    first = part.kinds[0]
    dev_run = None
    if dev is not None and dev_queries is not None:
        scores, at = indexes[first].search(dev_queries, depth)
        dev_run = runs.from_arrays(scores, at, dev.ids, indexes[first].ids)
    recalls = {}
    if first in index.EXACT_KINDS:
        recalls = {
            run_name(part.name, kind): overlap(rows[kind], rows[first][:, :100]) for kind in part.kinds[1:]
        }
        if size is not None:  # what is at the top is what a funnel is for
            for kind in part.kinds:
                share = overlap(rows[kind][:, :10], rows[first][:, :10])
                searches[run_name(part.name, kind)]["recall@10"] = share
    figures: dict[str, float] = {}
    if issparse(queries):
        figures = sparsity.summary(queries, sparse_vectors.read(vectors).rows())
    return PartFound(found, dev_run, indexes, recalls, searches, figures, home)


def _cost(opened: Index, queries: Any, depth: int) -> dict[str, float]:
    """The median milliseconds of a query that comes alone, and the bytes of the index on disk."""
    at = np.linspace(0, queries.shape[0] - 1, min(TIMED, queries.shape[0])).astype(int)
    seconds = []
    for row in at.tolist():
        one = queries[[row]]
        began = time.perf_counter()
        opened.search(one, depth)
        seconds.append(time.perf_counter() - began)
    size = sum(file["bytes"] for file in opened.manifest["files"].values())
    return {"milliseconds per query": 1e3 * statistics.median(seconds), "index bytes": float(size)}
