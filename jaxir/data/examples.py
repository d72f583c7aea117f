"""Judgements -> training examples: a query, one of its positives, and documents listed beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxir.checks import InputError, check_known
from jaxir.data.listed import JUDGEMENTS, Candidates, judged, read_candidates
from jaxir.data.mixture import Files, check_teachers, draw, mixed, parse_files
from jaxir.data.prepared import Prepared, QrelTable
from jaxir.data.ragged import positions

RANDOM = 64
"""At most so many random documents are there to list for a query."""


class Listing(NamedTuple):
    """b examples as rows of the data set; column 0 is the positive."""

    query_row: np.ndarray  # [b] int64
    doc_row: np.ndarray  # [b, 1 + k] int64; where False: the positive again
    labels: np.ndarray  # [b, 1 + k] float32, grades
    where: np.ndarray  # [b, 1 + k] bool
    teacher: np.ndarray | None  # [b, 1 + k] float32, NaN = unknown; of several teachers [b, 1 + k, t]


@dataclass(frozen=True)
class Examples:
    """The examples of one split, read by number in any order.

    There is one for each of the p judgements above 0; or, with ``queries``, one for each query that has
    any, with one of them drawn each time.
    """

    query_row: np.ndarray  # [p] int64
    doc_row: np.ndarray  # [p] int64
    label: np.ndarray  # [p] float32
    teacher: np.ndarray | None  # [p] float32, the positives' teacher scores; of several [p, t]
    positives: Candidates
    candidates: Candidates | None  # what is listed beside the positive; None for nothing
    listed: int  # k
    queries: np.ndarray | None = None  # [m] int64, those with a judgement above 0

    def __len__(self) -> int:
        return len(self.query_row if self.queries is None else self.queries)

    @property
    def most_positives(self) -> int:
        """The largest number of relevant documents of a query."""
        return int(np.diff(self.positives.starts).max())

    def take(self, numbers: np.ndarray, rng: np.random.Generator) -> Listing:
        """The examples of the given numbers; of more than k candidates k are drawn, without repeats."""
        if self.queries is not None:
            numbers = self._one_of_each(self.queries[numbers], rng)
        query_row, doc_row = self.query_row[numbers], self.doc_row[numbers][:, None]
        label = self.label[numbers][:, None]
        where = np.ones(label.shape, bool)
        if self.candidates is None:
            return Listing(query_row, doc_row, label, where, None)
        entries, real = draw(self.candidates, query_row, doc_row, self.listed, rng)
        # A free slot repeats the positive: any text does, but an empty one might upset a model.
        docs = np.where(real, self.candidates.doc_row[entries], doc_row)
        labels = np.where(real, self.candidates.label[entries], 0).astype(np.float32)
        teacher = None
        if self.teacher is not None and self.candidates.score is not None:
            scores = self.candidates.score[entries]  # [b, k], of several teachers [b, k, t]
            scores = np.where(real.reshape(real.shape + (1,) * (scores.ndim - 2)), scores, 0)
            teacher = np.concatenate([self.teacher[numbers][:, None], scores], axis=1)
        return Listing(
            query_row,
            np.concatenate([doc_row, docs], axis=1),
            np.concatenate([label, labels], axis=1),
            np.concatenate([where, real], axis=1),
            teacher,
        )

    def _one_of_each(self, queries: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One of the judgements above 0 of each of these queries."""
        starts, ends = self.positives.starts[queries], self.positives.starts[queries + 1]
        return starts + (rng.random(len(queries)) * (ends - starts)).astype(np.int64)

    def known(self, query_row: np.ndarray, doc_row: np.ndarray, width: int) -> np.ndarray:
        """The relevant documents of each query: [b, width] int64 rows, filled up with -1.

        Where a query has more than ``width``, those in ``doc_row`` (the batch's documents) come first:
        they are the ones that must not become negatives.
        """
        starts = self.positives.starts[query_row]
        lengths = self.positives.starts[query_row + 1] - starts
        docs = self.positives.doc_row[positions(starts, lengths)]
        row = np.repeat(np.arange(len(query_row)), lengths)
        order = np.lexsort((~np.isin(docs, doc_row), row))  # by query, present ones first
        place = np.arange(len(docs)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        known = np.full((len(query_row), width), -1, np.int64)
        fits = place < width
        known[row[fits], place[fits]] = docs[order][fits]
        return known


@dataclass(frozen=True)
class Documents:
    """m examples, one for every document of a data set: its own positive, of a query with the same number."""

    count: int  # m
    most_positives: int = 1
    candidates: None = None
    teacher: None = None

    def __len__(self) -> int:
        return self.count

    def take(self, numbers: np.ndarray, rng: np.random.Generator) -> Listing:
        """The examples of the given numbers."""
        del rng
        shape = (len(numbers), 1)
        return Listing(numbers, numbers[:, None], np.ones(shape, np.float32), np.ones(shape, bool), None)

    def known(self, query_row: np.ndarray, doc_row: np.ndarray, width: int) -> np.ndarray:
        """The documents themselves: [b, width] int64 rows, filled up with -1."""
        del doc_row
        return np.where(np.arange(width) == 0, query_row[:, None], -1)


def build_examples(
    prepared: Prepared,
    split: str,
    *,
    listed: int = 0,
    listed_from: str = "negatives",
    negatives_file: Files | None = None,
    one_per: str = "positive",
) -> Examples:
    """The examples of a split of a prepared data set.

    Args:
      listed: k, how many documents to list beside the positive.
      listed_from: "negatives" lists judged non-relevant documents (label 0); "judged" lists the query's
        other judged documents whatever their grade, for ranking losses on graded lists; "random" lists
        documents of the collection that are not relevant to it, for each query the same :data:`RANDOM`.
      negatives_file: lists documents from this file instead (see
        :func:`jaxir.data.listed.read_candidates`); its scores become ``teacher``. Several, mixed by weight:
        paths, (path, weight) or dict(file=path, weight=1.0), where "judged", "negatives" and "random" are
        what listed_from means by them. A query of which one has no document gets those of the others.
      one_per: "positive", an example for each relevant document of a query; "query", one for each query,
        with one of its relevant documents drawn each time.

    Raises:
      InputError: no such split, or no positive in it; what is wrong with the files.
    """
    check_known("value of listed_from", listed_from, JUDGEMENTS)
    check_known("value of one_per", one_per, ("positive", "query"))
    check_known(f"split of {prepared.name}", split, prepared.qrels)
    if listed < 0:
        raise InputError(f"listed is {listed}, it must be 0 or more")
    if negatives_file is not None and not listed:
        raise InputError("negatives_file is set and listed is 0: set listed to how many to list")
    table, queries = prepared.qrels[split], len(prepared.queries[split])
    known = judged(table, table.relevance > 0, queries)
    if not len(known.doc_row):
        raise InputError(f"{prepared.name} has no relevant document in its split {split!r}")
    candidates, teacher = None, None
    if negatives_file is not None:
        files = parse_files(negatives_file)
        found = [
            read_candidates(one.file, prepared, split)
            if one.is_file
            else _without_file(prepared, table, one.file, known)
            for one in files
        ]
        check_teachers(found)
        docs = len(prepared.docs)
        scored = [(one.file, each) for one, each in zip(files, found) if each.score is not None]
        lists = [
            _without(each, known, docs) if one.is_file else _scored(each, scored, docs)
            for one, each in zip(files, found)
            if one.weight
        ]
        candidates = mixed(lists, [one.weight for one in files if one.weight])
        teacher = _teacher_of_positives(scored, known, prepared, split) if scored else None
    elif listed:
        candidates = _without_file(prepared, table, listed_from, known)
    asked = np.flatnonzero(np.diff(known.starts)) if one_per == "query" else None
    return Examples(known.owner, known.doc_row, known.label, teacher, known, candidates, listed, asked)


def _without_file(prepared: Prepared, table: QrelTable, listed_from: str, known: Candidates) -> Candidates:
    queries, docs = len(known.starts) - 1, len(prepared.docs)
    if listed_from != "random":
        return judged(table, (table.relevance <= 0) | (listed_from == "judged"), queries)
    asked = np.flatnonzero(np.diff(known.starts))
    rows = np.random.default_rng(0).integers(0, docs, (len(asked), RANDOM))
    pairs = np.unique(_pair(asked[:, None], rows, docs))
    owner, rows = np.divmod(pairs, docs)
    return _without(Candidates.of(owner, rows, np.zeros(len(rows), np.float32), queries), known, docs)


def _pair(query_row: np.ndarray, doc_row: np.ndarray, docs: int) -> np.ndarray:
    return query_row * docs + doc_row  # one number for a pair: below 2^63 for any real collection


def _without(found: Candidates, known: Candidates, docs: int) -> Candidates:
    """The candidates that are not known positives of their query."""
    positive = _pair(known.owner, known.doc_row, docs)
    return found.where(~np.isin(_pair(found.owner, found.doc_row, docs), positive))


def _scored(found: Candidates, scored: Sequence[tuple[str, Candidates]], docs: int) -> Candidates:
    """The candidates with the scores that files have of them."""
    return found._replace(score=_scores_of(found, scored, docs)[0]) if scored else found


def _scores_of(
    wanted: Candidates, scored: Sequence[tuple[str, Candidates]], docs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each entry's score in the first file that names it, NaN where none does; and whether none does."""
    pairs = np.concatenate([_pair(found.owner, found.doc_row, docs) for _, found in scored])
    scores = np.concatenate([found.score for _, found in scored])
    if not len(pairs):
        pairs, scores = np.full(1, -1), np.full((1, *scores.shape[1:]), np.nan, np.float32)
    order = np.argsort(pairs, kind="stable")
    asked = _pair(wanted.owner, wanted.doc_row, docs)
    at = order[np.minimum(np.searchsorted(pairs[order], asked), len(pairs) - 1)]
    missing = pairs[at] != asked
    values = scores[at]
    values[missing] = np.nan
    return values, missing


def _teacher_of_positives(
    scored: Sequence[tuple[str, Candidates]], known: Candidates, prepared: Prepared, split: str
) -> np.ndarray:
    """The score of each positive."""
    values, missing = _scores_of(known, scored, len(prepared.docs))
    if missing.any():
        first = int(np.argmax(missing))
        query = prepared.queries[split][int(known.owner[first])].query_id
        doc = prepared.docs[int(known.doc_row[first])].doc_id
        raise InputError(
            f"{' and '.join(file for file, _ in scored)} has scores, but none for {int(missing.sum())} of "
            f"{len(missing)} positives (such as query {query!r} and document {doc!r}): add the positives to "
            "doc_ids, or leave scores out"
        )
    return values
