"""One line of a file of listed documents, in the forms that such files have."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from jaxir.checks import InputError
from jaxir.data import textfiles


class Line(NamedTuple):
    """What a line says of one query."""

    query_id: str
    doc_ids: list[str]
    positive: list[bool]  # what the file calls one
    scores: list[float] | None  # document after document, those of each teacher
    teachers: int | None  # of one list each; None where scores are one plain list


def parse(where: str, record: dict[str, Any]) -> Line:
    """Reads a JSON object.

    - ``{"query_id": ..., "doc_ids": [...], "scores": [...]}``; ``scores`` is absent, one number (or null,
      unknown) for each document, or one such list for each of several teachers. A document that is named
      again counts once;
    - ``{"qid": ..., "pos": [...], "neg": [...]}``, as MS MARCO's hard negatives are published: ``neg`` is a
      list or ``{system: list}``; an entry is an id, or ``{"pid": ..., "ce-score": ...}`` (``doc_id`` and
      ``score`` do as well). A document that several systems found counts once.

    Raises:
      InputError: anything else, with ``where``.
    """
    query_id = textfiles.id_of(where, record, "qid" if "qid" in record else "query_id")
    if "pos" in record or "neg" in record:
        return _positives_and_negatives(where, query_id, record)
    doc_ids = record.get("doc_ids")
    if not isinstance(doc_ids, list) or not all(isinstance(i, (str, int)) for i in doc_ids):
        raise InputError(f"{where}: expected 'doc_ids' to be a list of ids")
    doc_ids, scores = [str(i) for i in doc_ids], record.get("scores")
    first = {doc_id: at for at, doc_id in reversed(list(enumerate(doc_ids)))}
    unique = list(dict.fromkeys(doc_ids))
    never = [False] * len(unique)
    if scores is None:
        return Line(query_id, unique, never, None, None)
    several = isinstance(scores, list) and bool(scores) and all(isinstance(s, list) for s in scores)
    lists = scores if several else [scores]
    if not all(isinstance(s, list) and len(s) == len(doc_ids) for s in lists):
        raise InputError(
            f"{where}: expected 'scores' to be a list as long as 'doc_ids', or one such list for each teacher"
        )
    flat = [values[first[doc_id]] for doc_id in unique for values in lists]
    return Line(query_id, unique, never, _numbers(where, flat), len(lists) if several else None)


def _positives_and_negatives(where: str, query_id: str, record: dict[str, Any]) -> Line:
    negative = record.get("neg", [])
    if isinstance(negative, dict):
        if not all(isinstance(found, list) for found in negative.values()):
            raise InputError(f"{where}: expected 'neg' to be a list, or a list for each system")
        negative = [entry for found in negative.values() for entry in found]
    positive = record.get("pos", [])
    if not isinstance(positive, list) or not isinstance(negative, list):
        raise InputError(f"{where}: expected 'pos' and 'neg' to be lists")
    found: dict[str, tuple[bool, Any]] = {}
    for is_positive, entries in ((True, positive), (False, negative)):
        for entry in entries:
            score = None
            if isinstance(entry, dict):
                score = entry.get("ce-score", entry.get("score"))
                entry = entry.get("pid", entry.get("doc_id"))
            if not isinstance(entry, (str, int)):
                raise InputError(
                    f"{where}: expected entries of 'pos' and 'neg' to be ids, or "
                    '{"pid": ..., "ce-score": ...}'
                )
            found.setdefault(str(entry), (is_positive, score))
    scores = [score for _, score in found.values()]
    absent = [score is None for score in scores]
    if any(absent) and not all(absent):
        raise InputError(f"{where}: 'ce-score' must stand with every document or with none")
    flat = None if all(absent) else _numbers(where, scores)
    return Line(query_id, list(found), [is_positive for is_positive, _ in found.values()], flat, None)


def _numbers(where: str, scores: list[Any]) -> list[float]:
    scores = [math.nan if s is None else s for s in scores]
    numbers = all(isinstance(s, (int, float)) and not isinstance(s, bool) for s in scores)
    if not numbers or math.inf in map(abs, scores):
        raise InputError(f"{where}: expected 'scores' to be numbers, or null where one is unknown")
    return scores
