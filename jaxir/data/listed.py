"""Which documents may be listed with each query beside its positive: from judgements or from a file."""

from __future__ import annotations

import pathlib
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxir.checks import InputError
from jaxir.data import textfiles
from jaxir.data.prepared import DOCS, Prepared, QrelTable
from jaxir.data.records import Records
from jaxir.files import PathLike


class Candidates(NamedTuple):
    """c (query, document) entries sorted by query; those of query q are starts[q]:starts[q + 1]."""

    doc_row: np.ndarray  # [c] int64
    label: np.ndarray  # [c] float32
    starts: np.ndarray  # [queries + 1] int64
    score: np.ndarray | None = None  # [c] float32, a teacher's

    @classmethod
    def of(
        cls,
        query_row: np.ndarray,
        doc_row: np.ndarray,
        label: np.ndarray,
        queries: int,
        score: np.ndarray | None = None,
    ) -> Candidates:
        """Sorts the entries by query; within a query their order stays."""
        order = np.argsort(query_row, kind="stable")
        starts = np.searchsorted(query_row[order], np.arange(queries + 1))
        return cls(
            doc_row[order].astype(np.int64),
            label[order].astype(np.float32),
            starts.astype(np.int64),
            None if score is None else score[order].astype(np.float32),
        )


def judged(table: QrelTable, where: np.ndarray, queries: int) -> Candidates:
    """The judgements that ``where`` marks, labelled with their grades; below 0 counts as 0."""
    labels = np.maximum(table.relevance[where], 0)
    return Candidates.of(table.query_row[where], table.doc_row[where], labels, queries)


def read_candidates(path: PathLike, prepared: Prepared, split: str) -> Candidates:
    """Reads a file of documents mined for each query: jsonl, plain or .gz, streamed.

    A line is ``{"query_id": ..., "doc_ids": [...], "scores": [...]}``; ``scores`` (a teacher's, one for
    each document) stand in every line or in none. Labels are 0; positives in the list are for their
    scores only and are never listed as negatives.

    Raises:
      InputError: a malformed line (with its number), ids that the data set does not have.
    """
    path = pathlib.Path(path)
    query_rows = {query.query_id: row for row, query in enumerate(prepared.queries[split])}
    wanted: dict[str, int] = {}  # only the ids that the file names are held, numbered as they come
    query_row, number, score = array("q"), array("q"), array("f")
    unknown: list[str] = []
    scored: bool | None = None
    for where, line in textfiles.lines(path):
        record = textfiles.json_object(where, line)
        doc_ids, scores = _lists(where, record)
        if scored not in (None, scores is not None):
            raise InputError(f"{where}: 'scores' must stand in every line or in none")
        scored = scores is not None
        row = query_rows.get(textfiles.id_of(where, record, "query_id"), -1)
        if row < 0:
            unknown.append(str(record["query_id"]))
            continue
        query_row.extend([row] * len(doc_ids))
        number.extend(wanted.setdefault(doc_id, len(wanted)) for doc_id in doc_ids)
        score.extend(scores or ())
    _refuse_unknown(path, "queries", unknown, f"split {split!r} of {prepared.name}")
    doc_rows = _rows_of(prepared, wanted)
    _refuse_unknown(path, "documents", [i for i, n in wanted.items() if doc_rows[n] < 0], prepared.name)
    rows = doc_rows[np.asarray(number, np.int64)]
    labels = np.zeros(len(rows), np.float32)
    return Candidates.of(
        np.asarray(query_row, np.int64),
        rows,
        labels,
        len(query_rows),
        np.asarray(score, np.float32) if scored else None,
    )


def _lists(where: str, record: dict[str, Any]) -> tuple[list[str], list[float] | None]:
    doc_ids, scores = record.get("doc_ids"), record.get("scores")
    if not isinstance(doc_ids, list) or not all(isinstance(i, (str, int)) for i in doc_ids):
        raise InputError(f"{where}: expected 'doc_ids' to be a list of ids")
    if scores is None:
        return [str(i) for i in doc_ids], None
    if not isinstance(scores, list) or len(scores) != len(doc_ids):
        raise InputError(f"{where}: expected 'scores' to be a list as long as 'doc_ids'")
    if not all(isinstance(s, (int, float)) for s in scores):
        raise InputError(f"{where}: expected 'scores' to be numbers")
    return [str(i) for i in doc_ids], scores


def _rows_of(prepared: Prepared, wanted: dict[str, int]) -> np.ndarray:
    """The row of each wanted document, -1 for one that is not in the corpus."""
    rows = np.full(len(wanted), -1, np.int64)
    docs = prepared.docs
    ids = Records(docs.directory, docs.split, {"doc_id": DOCS["doc_id"]}, str, len(docs))
    for row, doc_id in enumerate(ids):
        if doc_id in wanted:
            rows[wanted[doc_id]] = row
    return rows


def _refuse_unknown(path: pathlib.Path, what: str, ids: Iterable[str], home: str) -> None:
    ids = list(dict.fromkeys(ids))
    if ids:
        raise InputError(
            f"{path} names {len(ids)} {what} that are not in {home}: "
            f"{', '.join(map(repr, ids[:3]))}{', ...' if len(ids) > 3 else ''}"
        )
