"""Which documents may be listed with each query beside its positive: from judgements or from a file."""

from __future__ import annotations

import pathlib
from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxir.checks import InputError
from jaxir.data import textfiles
from jaxir.data.listed_lines import parse
from jaxir.data.prepared import DOCS, Prepared, QrelTable
from jaxir.data.records import Records
from jaxir.files import PathLike

JUDGEMENTS = ("negatives", "judged", "random")
"""What may be listed of the data set's own judgements: those of grade 0, or all with their grades."""


class Candidates(NamedTuple):
    """c (query, document) entries sorted by query; those of query q are starts[q]:starts[q + 1]."""

    doc_row: np.ndarray  # [c] int64
    label: np.ndarray  # [c] float32
    starts: np.ndarray  # [queries + 1] int64
    score: np.ndarray | None = None  # [c] float32, a teacher's, NaN = unknown; [c, t] of several
    part: np.ndarray | None = None  # [c] int64, of a mixture: which of its lists an entry is from
    weights: tuple[float, ...] = (1.0,)  # of these lists

    @property
    def owner(self) -> np.ndarray:
        """[c] int64, the query of each entry."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def where(self, keep: np.ndarray) -> Candidates:
        """The entries that ``keep`` [c] marks."""
        starts = np.concatenate([[0], np.cumsum(keep)])[self.starts]
        score, part = (None if x is None else x[keep] for x in (self.score, self.part))
        return Candidates(self.doc_row[keep], self.label[keep], starts, score, part, self.weights)

    @classmethod
    def of(
        cls,
        query_row: np.ndarray,
        doc_row: np.ndarray,
        label: np.ndarray,
        queries: int,
        score: np.ndarray | None = None,
        part: np.ndarray | None = None,
    ) -> Candidates:
        """Sorts the entries by query; within a query their order stays."""
        order = np.argsort(query_row, kind="stable")
        starts = np.searchsorted(query_row[order], np.arange(queries + 1))
        return cls(
            doc_row[order].astype(np.int64),
            label[order].astype(np.float32),
            starts.astype(np.int64),
            None if score is None else score[order].astype(np.float32),
            None if part is None else part[order],
        )


def judged(table: QrelTable, where: np.ndarray, queries: int) -> Candidates:
    """The judgements that ``where`` marks, labelled with their grades; below 0 counts as 0."""
    labels = np.maximum(table.relevance[where], 0)
    return Candidates.of(table.query_row[where], table.doc_row[where], labels, queries)


def read_candidates(path: PathLike, prepared: Prepared, split: str) -> Candidates:
    """Reads a file of documents mined for each query: jsonl, plain or .gz, streamed.

    A line is ``{"query_id": ..., "doc_ids": [...], "scores": [...]}``, or one of MS MARCO's published hard
    negatives, ``{"qid": ..., "pos": [...], "neg": {system: [...]}}`` (:func:`jaxir.data.listed_lines.parse`).
    Scores, of one teacher or of several, stand in every line or in none; null is an unknown one (NaN). A
    document that a line names again counts once. Labels are 0, and 1 for ``pos``;
    what the data set knows as positives is there for its scores only and is never listed as a negative.

    Raises:
      InputError: a malformed line (with its number), ids that the data set does not have, a pickle.
    """
    path = pathlib.Path(path)
    if {".pkl", ".pickle"} & set(path.suffixes):
        raise InputError(
            f"{path} is a pickle, a program that would run when it is read. Write it as lines of JSON: "
            '{"query_id": ..., "doc_ids": [...], "scores": [...]}'
        )
    query_rows = {query.query_id: row for row, query in enumerate(prepared.queries[split])}
    wanted: dict[str, int] = {}  # only the ids that the file names are held, numbered as they come
    query_row, number, score, label = array("q"), array("q"), array("f"), array("b")
    unknown: list[str] = []
    form: tuple[bool, int | None] | None = None  # whether there are scores, and of how many teachers
    for where, text in textfiles.lines(path):
        line = parse(where, textfiles.json_object(where, text))
        if line.doc_ids:
            mine = line.scores is not None, line.teachers
            if form not in (None, mine):
                raise InputError(
                    f"{where}: 'scores' must stand in every line or in none, of the same number of teachers"
                )
            form = mine
        row = query_rows.get(line.query_id, -1)
        if row < 0:
            unknown.append(line.query_id)
            continue
        query_row.extend([row] * len(line.doc_ids))
        number.extend(wanted.setdefault(doc_id, len(wanted)) for doc_id in line.doc_ids)
        label.extend(line.positive)
        score.extend(line.scores or ())
    _refuse_unknown(path, "queries", unknown, f"split {split!r} of {prepared.name}")
    doc_rows = _rows_of(prepared, wanted)
    _refuse_unknown(path, "documents", [i for i, n in wanted.items() if doc_rows[n] < 0], prepared.name)
    rows = doc_rows[np.asarray(number, np.int64)]
    scored, teachers = form or (False, None)
    scores = np.asarray(score, np.float32) if scored else None
    if teachers is not None:
        scores = scores.reshape(-1, teachers)
    labels = np.asarray(label, np.float32)
    return Candidates.of(np.asarray(query_row, np.int64), rows, labels, len(query_rows), scores)


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
