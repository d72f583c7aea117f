"""The second stage: the first documents of a run, ordered anew by a model's scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxir.checks import InputError, check_known, check_positive
from jaxir.data.prepared import Prepared
from jaxir.files import PathLike
from jaxir.retrieval import encode, runs
from jaxir.retrieval.bm25 import BM25
from jaxir.retrieval.mining_data import doc_ids, rows_of
from jaxir.retrieval.model import settings
from jaxir.retrieval.pair_scores import score_pairs
from jaxir.retrieval.runs import Run

SEARCHED = 256
"""Queries that BM25 searches at a time."""


def rerank(
    model: Any,
    prepared: Prepared,
    split: str,
    run: Run,
    *,
    depth: int = 100,
    part: str | None = None,
    mesh: Mesh | None = None,
    out: PathLike | None = None,
    where: str = "the run",
    desc: str | None = "rerank",
) -> Run:
    """The run with the first ``depth`` documents of each query in the order of the model's scores.

    Documents beyond them keep their order, below the ones that were scored.

    Args:
      run: {query_id: {doc_id: score}}, best first, of queries of the split.
      part, mesh, out, desc: of :func:`jaxir.retrieval.pair_scores.score_pairs`.
      where: names the run in errors.

    Raises:
      InputError: queries or documents that the data set does not have (names some), a depth below 1.
    """
    check_positive("depth", depth)
    query_row, doc_row = pairs_of(run, prepared, split, depth=depth, where=where)
    scores = score_pairs(model, prepared, split, query_row, doc_row, part=part, mesh=mesh, out=out, desc=desc)
    new: Run = {}
    end = 0
    for query_id, found in run.items():
        ids = list(found)
        begin, end = end, end + min(depth, len(ids))
        mine = scores[begin:end]
        order = np.argsort(-mine, kind="stable")
        new[query_id] = {ids[i]: float(mine[i]) for i in order}
        lowest = float(mine.min(initial=0))
        new[query_id] |= {doc_id: lowest - 1 - i for i, doc_id in enumerate(ids[depth:])}
    return new


def pairs_of(
    run: Run, prepared: Prepared, split: str, *, depth: int | None = None, where: str = "the run"
) -> tuple[np.ndarray, np.ndarray]:
    """(query rows [m], document rows [m]) of the first ``depth`` documents of each query, in the run's order.

    Raises:
      InputError: queries that the split does not have, documents that the data set does not have.
    """
    check_known(f"split of {prepared.name}", split, prepared.queries)
    query_rows = {query.query_id: row for row, query in enumerate(prepared.queries[split])}
    unknown = [query_id for query_id in run if query_id not in query_rows]
    if unknown:
        some = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
        raise InputError(
            f"{where} names {len(unknown)} queries that are not in split {split!r} of {prepared.name}: "
            f"{some}. Give the split whose queries were searched"
        )
    pairs = [(q, doc_id) for q, found in run.items() for doc_id in list(found)[:depth]]
    doc_row = rows_of(prepared, [doc_id for _, doc_id in pairs], where)
    return np.array([query_rows[q] for q, _ in pairs], np.int64), doc_row


def by_words(
    model: Any, prepared: Prepared, split: str, *, depth: int, language: str = "en", progress: bool = True
) -> Run:
    """BM25's first ``depth`` documents of the split's queries, of those with judgements where there are any.

    BM25 reads of a document what the model reads.

    Raises:
      InputError: no such split, or nothing to search in.
    """
    check_known(f"split of {prepared.name}", split, prepared.queries)
    queries = list(prepared.queries[split])
    if split in prepared.qrels and len(prepared.qrels[split].query_row):
        queries = [queries[row] for row in np.unique(prepared.qrels[split].query_row)]
    text = encode.make_text_fn(settings(model)["doc_text"])
    ids = list(doc_ids(prepared))
    lexical = BM25((text(doc) for doc in prepared.docs), ids, language=language, progress=progress)
    found: Run = {}
    for i in range(0, len(queries), SEARCHED):
        some = queries[i : i + SEARCHED]
        scores, rows = lexical.search([q.text for q in some], min(depth, len(ids)))
        found |= runs.from_arrays(scores, rows, [q.query_id for q in some], ids)
    return {query_id: docs for query_id, docs in found.items() if docs}
