"""The report of a chain: figures in the agreed format, example queries, the training curve."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxir.data.prepared import Prepared
from jaxir.evaluation import examples
from jaxir.evaluation.chain import ChainResult
from jaxir.evaluation.report import picture_measure, write_report
from jaxir.files import PathLike
from jaxir.models.trained_sizes import cut_to
from jaxir.retrieval import index
from jaxir.retrieval.ids import pack_ids
from jaxir.training.checkpoint import Model
from jaxir.training.log import read_log
from jaxir.types import Doc


def write_chain_report(
    out_dir: PathLike,
    result: ChainResult,
    *,
    model: Model,
    prepared: Prepared,
    workdir: PathLike,
    split: str = "test",
    title: str = "",
    seconds: Mapping[str, float] | None = None,
) -> pathlib.Path:
    """Writes the report of ``result`` and returns its page; ``workdir`` has the training log.

    ``seconds`` replaces the chain's own stages (the quickstart adds its training, and the total).
    """
    size = cut_to(model.config, model.encoder)
    name = f"{prepared.name}: {len(result.qrels):,} queries of {split}" + (f", cut to {size}" if size else "")
    return write_report(
        out_dir,
        title=title or name,
        runs=result.figures,
        per_query=result.per_query,
        baseline=result.table.baseline,
        results=summary(result, prepared, seconds),
        curves=read_log(workdir),
        examples=pick_examples(result, prepared, split),
        config=json.dumps(model.config, indent=2),
        notes=result.notes,
    )


def summary(
    result: ChainResult, prepared: Prepared, seconds: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """What ``results.json`` holds besides the runs: recall, sparsity, the hybrid, seconds, counts.

    ``sparsity`` is what :func:`jaxir.evaluation.sparsity.summary` says of sparse vectors, ``searches`` what
    each run of them, or beside a funnel, costs.
    """
    stages = dict(result.seconds if seconds is None else seconds)
    stages = {"total": stages.pop("total", sum(stages.values())), **stages}
    facts: dict[str, Any] = {}
    for name, recall in result.recalls.items():
        facts[f"{name.rpartition('_')[2]}_recall@100"] = recall
    if result.sparsity:
        facts["sparsity"] = result.sparsity
    if result.searches:
        facts["searches"] = result.searches
    if result.hybrid is not None:
        facts["hybrid"] = result.hybrid._asdict()
    facts["seconds"] = {stage: round(value, 3) for stage, value in stages.items()}
    facts["corpus"] = {"docs": len(prepared.docs), **prepared.counts["queries"]}
    return facts


def pick_examples(
    result: ChainResult, prepared: Prepared, split: str, *, each: int = 2
) -> list[dict[str, Any]]:
    """Queries where the last run (the hybrid, if there is one) gains most on the first, and so on."""
    names = list(result.runs)
    if len(names) < 2:
        return []
    measure = picture_measure(result.table.measures)
    last, first = (result.per_query[names[i]][measure] for i in (-1, 0))
    chosen = examples.choose(last, first, each=each)
    rows = np.unique(prepared.qrels[split].query_row).tolist()
    texts = {q.query_id: q.text for q in prepared.queries[split].rows(rows)}
    ids = index.open(next(iter(result.indexes.values()))).ids

    def read_docs(doc_ids: Sequence[str]) -> dict[str, Doc]:
        # Rows of the index are rows of the corpus.
        at = np.flatnonzero(np.isin(ids, pack_ids(doc_ids)))
        return {doc.doc_id: doc for doc in prepared.docs.rows(at.tolist())}

    shown = {name: run for name, run in result.runs.items() if name not in result.recalls}
    return examples.show(chosen, shown, result.qrels, query_text=texts, read_docs=read_docs)
