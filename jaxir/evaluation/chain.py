"""The whole chain with a trained encoder: encode, index, search, BM25, hybrid, measure.

Everything lies in ``workdir/retrieval/NAME-KEY/``, where KEY stands for the model, the data set and how
its texts are encoded. What is there already is used again; a corpus half encoded is gone on with.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from jaxir import processes
from jaxir.checks import InputError, check_known, check_positive
from jaxir.data.prepared import Prepared
from jaxir.evaluation import hybrid as hybrids
from jaxir.evaluation import stages, table
from jaxir.evaluation.chain_search import Part, PartFound, parts_of, search_part
from jaxir.evaluation.hybrid import Hybrid
from jaxir.evaluation.measures import DEFAULT_MEASURES, Qrels, measure_runs, parse
from jaxir.evaluation.stages import Run
from jaxir.files import PathLike
from jaxir.retrieval import funnel as funnels
from jaxir.retrieval import fusion, runs
from jaxir.retrieval.funnel import Funnel
from jaxir.training.checkpoint import Model
from jaxir.types import Encoder

DEV_QUERIES = 1000
"""Development queries that choose the fusion, at most: more change the second digit of a weight."""


class ChainResult(NamedTuple):
    """What the chain found.

    Runs are named bm25, dense_exact, dense_scann, dense_funnel-exact, dense_funnel-scann, sparse_exact,
    sparse_seismic, sparse_bmp, dense+sparse (the parts of a hybrid encoder) and hybrid (with BM25).
    """

    runs: dict[str, Run]
    figures: dict[str, dict[str, float]]  # run -> measure -> mean
    per_query: dict[str, dict[str, dict[str, float]]]  # run -> measure -> query_id -> value
    table: table.Table  # with p-values against the baseline
    p_values: dict[str, dict[str, float]]  # run -> measure -> p, corrected
    recalls: dict[str, float]  # approximate run -> share of the exact top min(100, depth) that it finds
    searches: dict[str, dict[str, float]]  # of sparse vectors or a funnel: run -> ms per query, index bytes
    sparsity: dict[str, float]  # of sparse vectors: jaxir.evaluation.sparsity.summary; else empty
    hybrid: Hybrid | None
    qrels: Qrels
    seconds: dict[str, float]  # stage -> seconds
    indexes: dict[str, pathlib.Path]  # kind -> directory
    notes: tuple[str, ...]

    @property
    def scann_recall(self) -> float | None:
        """What ScaNN finds of the exact first documents."""
        return self.recalls.get("dense_scann")


def evaluate_chain(
    model: Model,
    prepared: Prepared,
    workdir: PathLike,
    *,
    split: str = "test",
    dev_split: str | None = "dev",
    kinds: Sequence[str] | None = None,
    measures: str | Sequence[str] = DEFAULT_MEASURES,
    depth: int = 100,
    scann_options: Mapping[str, Any] | None = None,
    engine_options: Mapping[str, Mapping[str, Any]] | None = None,
    funnel: Mapping[str, int | None] | None = None,
    bm25: bool = True,
    hybrid: bool = True,
    language: str = "en",
    baseline: str | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> ChainResult:
    """Encodes and indexes the corpus, searches the judged queries of ``split`` and measures.

    BM25 and the encoder read the same text of a document. The hybrid fuses BM25 with the encoder's first
    run; normalisation and weight are chosen on ``dev_split`` by MRR@10, or fixed (min-max, 0.5) where the
    data set has none. The parts of a hybrid encoder are searched one by one, and their first runs added
    with the weights 0.5 and 0.5, scores as they are (HybridPQA, arXiv 2405.13173).

    Several processes (:mod:`jaxir.processes`) that call it together encode a part of the corpus each, and
    search it where the index is exact and dense; each gets the whole result, and process 0 writes.

    Args:
      model: of :func:`jaxir.training.checkpoint.load_model`.
      kinds: of indexes; each gives a run ``dense_KIND`` or ``sparse_KIND``. None = the exact one.
      depth: documents per query in the runs, at most the corpus.
      scann_options: of :func:`jaxir.retrieval.scann.build`. Development queries, where there are
        any, are what its recall is tuned on.
      engine_options: {"seismic": ..., "bmp": ...}, of their ``build``.
      funnel: dims, rerank_dims and rerank of :func:`jaxir.retrieval.index.build`: dense vectors are searched
        exactly and by a funnel, whose first search is of each of the ``kinds``.
      language: of BM25's words (:func:`jaxir.retrieval.words.analyzer`).
      baseline: the run that the others are compared with; None = the first.
      mesh: devices to encode on; None = the first one.
      progress: bars on standard error.

    Raises:
      InputError: an unknown kind, split or measure, a split without judgements, a funnel that does not fit
        the encoder or the depth, ...
    """
    parse(measures)
    check_positive("depth", depth)
    size = None if funnel is None else _funnel(model.encoder, funnel, min(depth, len(prepared.docs)))
    parts = parts_of(model.encoder, kinds, size=size)
    names = [*(["bm25"] if bm25 else []), *(name for part in parts for name in part.runs())]
    names += ["+".join(part.name for part in parts)] if len(parts) > 1 else []
    names += ["hybrid"] if bm25 and hybrid else []
    if baseline is not None:
        check_known("baseline run", baseline, names)
    test = stages.read_split(prepared, split)
    dev = None
    if dev_split is not None and dev_split != split and dev_split in prepared.qrels:
        dev = stages.read_split(prepared, dev_split, limit=DEV_QUERIES)
    depth = min(depth, len(prepared.docs))
    processes.check_same(
        "what they evaluate",
        dict(model=model.fingerprint, source=prepared.fingerprint, split=split, dev=dev_split, depth=depth)
        | dict(kinds=[list(part.kinds) for part in parts], funnel=size, bm25=bm25, hybrid=hybrid),
    )
    clock = stages.Clock()
    options = {"scann": scann_options or {}, **(engine_options or {})}
    common = dict(depth=depth, options=options, size=size, clock=clock, mesh=mesh, progress=progress)
    parts_found = [search_part(part, model, prepared, workdir, test, dev, **common) for part in parts]
    found, dev_run = _together(parts, parts_found, depth)
    own = list(found)[-1] if len(parts) > 1 else next(iter(found))
    indexes = {kind: i for part in parts_found for kind, i in part.indexes.items()}
    ids = next(iter(indexes.values())).ids
    fused = None
    if bm25:
        with clock("bm25"):
            lexical = stages.lexical_index(model, prepared, ids, language, progress)
            found = {"bm25": stages.search_words(lexical, test, depth), **found}
        if hybrid:
            with clock("hybrid"):
                fused = hybrids.FIXED
                if dev is not None and dev_run is not None:
                    fused = hybrids.choose(dev_run, stages.search_words(lexical, dev, depth), dev.qrels)
                fused = fused._replace(what=own.removesuffix("_exact"))
                found["hybrid"] = fused.fuse(found[own], found["bm25"], depth=depth)
    with clock("measure"):
        scores = measure_runs(found, test.qrels, measures)
        baseline = baseline or names[0]
        made = table.build(scores.figures, per_query=scores.per_query, baseline=baseline)
    notes = list(scores.notes) + ([f"hybrid: {fused}"] if fused else [])
    if size:
        notes.append(
            f"funnel: of all documents by {size.dims} dimensions, the first {size.rerank} again by "
            f"{size.rerank_dims}"
        )
    sparsity = next((part.sparsity for part in parts_found if part.sparsity), {})
    if sparsity.get("empty queries"):
        empty = f"{sparsity['empty queries']:,.0f} of {len(test.ids):,}"
        notes.append(f"{empty} queries have no active term: they find nothing in the sparse runs")
    home = parts_found[0].home
    for name, run in found.items() if processes.is_first() else ():
        try:
            runs.write(home / f"{split}.{name}.trec", run, name)
        except InputError as error:  # the figures do not depend on it
            notes.append(f"{name} was not written as a TREC file: {error}")
    p_values = {
        name: {m: cell.p for m, cell in cells.items() if cell.p is not None}
        for name, cells in made.cells.items()
    }
    return ChainResult(
        found,
        scores.figures,
        scores.per_query,
        made,
        p_values,
        {name: value for part in parts_found for name, value in part.recalls.items()},
        {name: cost for part in parts_found for name, cost in part.searches.items()},
        sparsity,
        fused,
        test.qrels,
        clock.seconds,
        {kind: i.path for kind, i in indexes.items()},
        tuple(notes),
    )


def _funnel(encoder: Encoder, given: Mapping[str, int | None], depth: int) -> Funnel:
    """The funnel over the dense vectors of an encoder.

    Raises:
      InputError: there are none, sizes that they do not have, or fewer candidates than ``depth``.
    """
    parts = (encoder.parts or {}).values() if encoder.kind == "hybrid" else (encoder,)
    dense = next((part for part in parts if part.kind == "dense"), None)
    if dense is None:
        raise InputError(
            f"a funnel goes by the first dimensions of dense vectors, the encoder gives {encoder.kind!r} "
            "ones: leave out rerank_dims and rerank"
        )
    size = funnels.make(dense.dim, **given)
    if size is None:
        raise InputError("a funnel needs dims, the dimensions of its first search")
    if size.rerank < depth:
        raise InputError(
            f"the runs have {depth} documents per query, but the funnel scores only {size.rerank} again: "
            f"rerank={depth} or more, or a smaller depth"
        )
    return size


def _together(
    parts: Sequence[Part], found: Sequence[PartFound], depth: int
) -> tuple[dict[str, Run], Run | None]:
    """The runs of all parts and, of several, that of their sum; the last one's for development queries."""
    every = {name: run for part in found for name, run in part.runs.items()}
    devs = [part.dev for part in found if part.dev is not None]
    if len(parts) == 1:
        return every, devs[0] if devs else None
    halves = [1 / len(parts)] * len(parts)

    def added(of_parts: Sequence[Run]) -> Run:
        total = fusion.weighted_raw(of_parts, halves)
        return {query: dict(list(docs.items())[:depth]) for query, docs in total.items()}

    every["+".join(part.name for part in parts)] = added([next(iter(part.runs.values())) for part in found])
    return every, added(devs) if devs else None
