"""Several lists of documents for each query, mixed by weight: negatives files, and judgements among them."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxir.checks import InputError
from jaxir.data.listed import JUDGEMENTS, Candidates
from jaxir.files import PathLike, checksum


class NegativesFile(NamedTuple):
    """One list of a mixture."""

    file: str  # a path, or a value of ``listed_from``
    weight: float  # 0: only its scores are read

    @property
    def is_file(self) -> bool:
        return self.file not in JUDGEMENTS


Files = PathLike | Sequence[Any]
"""A path, or several as a config has them: paths, (path, weight) or dict(file=..., weight=...)."""


def parse_files(files: Files) -> tuple[NegativesFile, ...]:
    """What a config says of negatives files, each with its weight.

    >>> [tuple(one) for one in parse_files([("bm25.jsonl", 2), dict(file="judged"), "dense.jsonl"])]
    [('bm25.jsonl', 2.0), ('judged', 1.0), ('dense.jsonl', 1.0)]

    Raises:
      InputError: none, an entry of another form, a weight below 0 or none above it, or a file twice.
    """
    if isinstance(files, (str, pathlib.PurePath)):
        return (NegativesFile(str(files), 1.0),)
    found = tuple(_parsed(files))
    if not found:
        raise InputError("no negatives file is named: give at least one, or none of the settings")
    if not any(one.weight for one in found):
        raise InputError(
            "all negatives files have weight 0, which reads only their scores: nothing is listed"
        )
    twice = [one.file for i, one in enumerate(found) if one.file in [o.file for o in found[:i]]]
    if twice:
        raise InputError(f"{twice[0]} is named twice among the negatives files: give it a larger weight")
    return found


def _parsed(files: Sequence[Any]) -> Iterator[NegativesFile]:
    for entry in files:
        one: Any = entry
        if isinstance(one, (str, pathlib.PurePath)):
            one = {"file": one}
        elif isinstance(one, (list, tuple)) and len(one) == 2:
            one = {"file": one[0], "weight": one[1]}
        named = isinstance(one, Mapping) and isinstance(one.get("file"), (str, pathlib.PurePath))
        if not named or set(one) - {"file", "weight"}:
            raise InputError(
                f"{entry!r} is no negatives file: expected a path, (path, weight) or "
                "dict(file=path, weight=1.0)"
            )
        weight = one.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise InputError(f"the weight of {one['file']} is {weight!r}, it must be a number of at least 0")
        yield NegativesFile(str(one["file"]), float(weight))


def describe_files(files: Files | None) -> Any:
    """What tells one choice of files from another: their contents and weights."""
    if files is None:
        return None
    if isinstance(files, (str, pathlib.PurePath)):
        return checksum(files)
    return [[checksum(one.file) if one.is_file else one.file, one.weight] for one in parse_files(files)]


def mixed(parts: Sequence[Candidates], weights: Sequence[float]) -> Candidates:
    """The entries of all parts, each with the number of its part; a part without scores has NaN for them.

    Raises:
      InputError: scores of different numbers of teachers.
    """
    check_teachers(parts)
    if len(parts) == 1:
        return parts[0]
    score = None
    shape = next((part.score.shape[1:] for part in parts if part.score is not None), None)
    if shape is not None:
        unknown = lambda part: np.full((len(part.doc_row), *shape), np.nan, np.float32)
        score = np.concatenate([unknown(p) if p.score is None else p.score for p in parts])
    together = Candidates.of(
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.doc_row for part in parts]),
        np.concatenate([part.label for part in parts]),
        len(parts[0].starts) - 1,
        score,
        np.repeat(np.arange(len(parts)), [len(part.doc_row) for part in parts]),
    )
    return together._replace(weights=tuple(weights))


def check_teachers(parts: Sequence[Candidates]) -> None:
    """Raises an InputError unless all parts that have scores have those of as many teachers."""
    if len({part.score.shape[1:] for part in parts if part.score is not None}) > 1:
        raise InputError("the negatives files of a mixture have scores of different numbers of teachers")


def draw(
    candidates: Candidates,
    query_row: np.ndarray,
    positive: np.ndarray,
    k: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """k random entries of each query's, the positive itself left out: (entries [b, k], real [b, k]).

    Of a mixture each slot takes a part by the weights, and one of its documents that is not listed yet; a
    part that has none left gives way to the others.

    Args:
      query_row: [b].
      positive: [b, 1] document rows.
    """
    starts = candidates.starts[query_row]
    count = candidates.starts[query_row + 1] - starts
    width = max(int(count.max(initial=0)), k)
    slots = np.arange(width)
    entries = np.minimum(starts[:, None] + slots, max(len(candidates.doc_row) - 1, 0))
    real = slots < count[:, None]
    if len(candidates.doc_row):
        real &= candidates.doc_row[entries] != positive
    keys = rng.random(real.shape)
    if candidates.part is None or not len(candidates.doc_row):
        # The k smallest of random keys, slots that are not real behind all others.
        best = np.argsort(np.where(real, keys, 2.0), axis=1, kind="stable")[:, :k]
        return np.take_along_axis(entries, best, 1), np.take_along_axis(real, best, 1)
    part = np.where(real, candidates.part[entries], len(candidates.weights))
    shuffled = np.argsort(part + keys, axis=1)  # part after part, each in random order
    # A document is in each part at most once: the first k of each part hold k different ones, if all do.
    some, when = [], []
    for number, weight in enumerate(candidates.weights):
        before, ours = (part < number).sum(axis=1), (part == number).sum(axis=1)
        at = np.take_along_axis(shuffled, np.minimum(before[:, None] + np.arange(k), width - 1), 1)
        some.append(np.take_along_axis(entries, at, 1))
        # Arrivals of a Poisson process of this weight: the next is of part s with probability weight_s over
        # the weights of the parts that have any left.
        arrivals = np.cumsum(rng.exponential(size=at.shape), axis=1) / weight
        when.append(np.where(np.arange(k) < ours[:, None], arrivals, np.inf))
    entries, arrival = np.concatenate(some, axis=1), np.concatenate(when, axis=1)
    arrival[repeated(candidates.doc_row[entries], arrival)] = np.inf
    best = np.argsort(arrival, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(entries, best, 1), np.isfinite(np.take_along_axis(arrival, best, 1))


def repeated(values: np.ndarray, when: np.ndarray) -> np.ndarray:
    """[b, w] bool: the same value comes earlier in the row, by ``when`` [b, w].

    >>> repeated(np.array([[5, 7, 5]]), np.array([[0.2, 0.3, 0.1]])).tolist()
    [[True, False, False]]
    """
    order = np.lexsort((when, values), axis=1)
    docs = np.take_along_axis(values, order, 1)
    again = np.zeros(docs.shape, bool)
    again[:, 1:] = docs[:, 1:] == docs[:, :-1]
    back = np.empty_like(again)
    np.put_along_axis(back, order, again, 1)
    return back
