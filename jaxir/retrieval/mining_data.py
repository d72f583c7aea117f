"""What mining must know of a data set: every known positive, which texts are equal, a run as rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxir.checks import InputError, check_known
from jaxir.data.listed import Candidates
from jaxir.data.prepared import DOCS, QUERIES, Prepared
from jaxir.data.records import Records
from jaxir.retrieval.runs import Run
from jaxir.retrieval.topk import NOT_FOUND

_MORE = 3
"""So many unknown ids are named."""


def digest(text: str) -> int:
    """A number of a text, equal for texts that differ in case and white space only; never 0.

    >>> digest("Some  text\\n") == digest("some text") != digest("another")
    True
    """
    plain = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest()) >> 1 or 1


class Texts:
    """Digests of a data set's documents, each read once, when it is first asked for."""

    def __init__(self, docs: Records, text_fn: Callable[[Any], str]) -> None:
        self._docs, self._text_fn = docs, text_fn
        self._known = np.zeros(len(docs), np.int64)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The digests of these rows; -1 where a row is -1."""
        wanted = np.unique(rows[rows >= 0])
        new = wanted[self._known[wanted] == 0]
        for row, doc in zip(new, self._docs.rows(new.tolist())):
            self._known[row] = digest(self._text_fn(doc))
        return np.where(rows >= 0, self._known[np.maximum(rows, 0)], -1)


def numbered(*digests: np.ndarray) -> list[np.ndarray]:
    """Digests as small numbers, the same for the same in all arrays; -1 stays."""
    flat = np.concatenate([d.ravel() for d in digests])
    _, number = np.unique(np.where(flat < 0, -1, flat), return_inverse=True)
    number = number - (1 if (flat < 0).any() else 0)
    ends = np.cumsum([d.size for d in digests])[:-1]
    return [part.reshape(d.shape) for part, d in zip(np.split(number, ends), digests)]


def relevant_of(prepared: Prepared, split: str) -> Candidates:
    """Every document that is known to be relevant to each query of a split: by any of the splits.

    Queries of other splits count with their judgements where they have the same id or the same text. The
    label is 1 of what the query's own judgements in this split say, 0 of the others.

    Raises:
      InputError: no such split, or no relevant document in it.
    """
    check_known(f"split of {prepared.name}", split, prepared.qrels)
    table = prepared.qrels[split]
    own = table.relevance > 0
    if not own.any():
        raise InputError(
            f"{prepared.name} has no relevant document in its split {split!r}: there is no query to mine for"
        )
    taught = np.zeros(len(prepared.queries[split]), bool)
    taught[table.query_row[own]] = True
    names: dict[str, list[int]] = {}
    for row, query in enumerate(_queries(prepared, split)):
        for name in _names(*query) if taught[row] else ():
            names.setdefault(name, []).append(row)
    pairs = [np.stack([table.query_row[own], table.doc_row[own]])]
    pairs += [_by_name(prepared, other, names) for other in prepared.qrels if other in prepared.queries]
    (query_row, doc_row), first = np.unique(np.concatenate(pairs, axis=1), axis=1, return_index=True)
    return Candidates.of(query_row, doc_row, first < own.sum(), len(taught))


def _by_name(prepared: Prepared, split: str, names: Mapping[str, Sequence[int]]) -> Int[np.ndarray, "2 m"]:
    """(query row, document row) of each judgement above 0 of a split, by the queries of these names."""
    table = prepared.qrels[split]
    known = table.relevance > 0
    docs: dict[int, list[int]] = {}
    for query, doc in zip(table.query_row[known].tolist(), table.doc_row[known].tolist()):
        docs.setdefault(query, []).append(doc)
    pairs = [
        (mine, doc)
        for row, query in enumerate(_queries(prepared, split))
        if row in docs
        for mine in {mine for name in _names(*query) for mine in names.get(name, ())}
        for doc in docs[row]
    ]
    return np.array(pairs, np.int64).reshape(-1, 2).T


def _names(query_id: str, text: str) -> tuple[str, str]:
    return f"id {query_id}", f"text {digest(text)}"


def _queries(prepared: Prepared, split: str) -> Iterable[tuple[str, str]]:
    queries = prepared.queries[split]
    return Records(queries.directory, split, QUERIES, lambda *fields: fields, len(queries))


def doc_ids(prepared: Prepared) -> Iterable[str]:
    """The ids of all documents, streamed."""
    docs = prepared.docs
    return Records(docs.directory, docs.split, {"doc_id": DOCS["doc_id"]}, str, len(docs))


def rows_of(prepared: Prepared, ids: Sequence[str], where: str) -> Int[np.ndarray, " n"]:
    """The rows of documents by their ids.

    Raises:
      InputError: ids that the data set does not have, with what names them (``where``).
    """
    wanted = set(ids)
    rows = {doc_id: row for row, doc_id in enumerate(doc_ids(prepared)) if doc_id in wanted}
    _refuse(where, "documents", [i for i in dict.fromkeys(ids) if i not in rows], prepared.name)
    return np.array([rows[i] for i in ids], np.int64)


def arrays_of_run(
    run: Run, prepared: Prepared, split: str, relevant: Candidates, depth: int, *, name: str = "the run"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scores [queries, k], rows [queries, k], scores of the relevant documents [p], NaN = not in the run).

    k is the longest list, at most ``depth``; a query that the run does not name has found nothing.

    Raises:
      InputError: the run names queries of another split, or documents that the data set does not have.
    """
    query_rows = {query_id: row for row, (query_id, _) in enumerate(_queries(prepared, split))}
    home = f"split {split!r} of {prepared.name}"
    _refuse(name, "queries", [i for i in run if i not in query_rows], home)
    ids = list(dict.fromkeys(doc_id for found in run.values() for doc_id in found))
    at = dict(zip(ids, rows_of(prepared, ids, name).tolist()))
    k = min(depth, max((len(found) for found in run.values()), default=0))
    scores = np.full((len(query_rows), max(k, 1)), -np.inf, np.float32)
    rows = np.full(scores.shape, NOT_FOUND, np.int64)
    of_relevant = np.full(len(relevant.doc_row), np.nan, np.float32)
    for query_id, found in run.items():
        row = query_rows[query_id]
        docs, values = [at[doc_id] for doc_id in found], list(found.values())
        rows[row, : len(docs[:k])], scores[row, : len(docs[:k])] = docs[:k], values[:k]
        score_of = dict(zip(docs, values))
        for entry in range(*relevant.starts[row : row + 2]):
            of_relevant[entry] = score_of.get(int(relevant.doc_row[entry]), np.nan)
    return scores, rows, of_relevant


def _refuse(where: str, what: str, unknown: Sequence[str], home: str) -> None:
    if unknown:
        some = ", ".join(map(repr, unknown[:_MORE]))
        more = ", ..." if len(unknown) > _MORE else ""
        raise InputError(f"{where} names {len(unknown)} {what} that are not in {home}: {some}{more}")
