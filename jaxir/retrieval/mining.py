"""Which of the documents that a search found may be a query's negatives: arrays in, arrays out, numpy only.

The job of ``jaxir mine`` is in :mod:`jaxir.retrieval.mining_job`; a training loop that refreshes its
negatives calls :func:`mine` with what its own search returns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxir.checks import InputError, check_known
from jaxir.data.mixture import repeated
from jaxir.retrieval.topk import NOT_FOUND

PICKS = ("top", "random", "weighted")
REFERENCES = ("best", "mean", "worst")

POSITIVE = "known positives"
SAME_AS_POSITIVE = "the text of a positive under another id"
SAME_AS_QUERY = "the text of the query itself"
REPEATED = "a text that ranks higher under another id"
SKIPPED = "skip_top"
ABSOLUTE = "absolute_max"
UNKNOWN = "no score of a positive to compare with"
MARGIN = "margin"
RELATIVE = "max_score"
RULES = (POSITIVE, SAME_AS_POSITIVE, SAME_AS_QUERY, REPEATED, SKIPPED, ABSOLUTE, UNKNOWN, MARGIN, RELATIVE)
"""Why a document is dropped, in the order in which it is asked: each counts under the first that holds."""


class Rules(NamedTuple):
    """What is kept. ``s`` is a document's score, ``t`` that of the query's positive (see ``reference``)."""

    per_query: int = 16  # negatives that are picked of each query
    pick: str = "top"  # the first ones, "random" ones, or "weighted": by 1 / rank among those that are kept
    seed: int = 0
    skip_top: int = 0  # of what is no positive, so many of the first are left out
    margin: float | None = None  # s < t - margin
    max_score: float | None = None  # s < t - (1 - max_score) |t|, which is max_score t for t above 0
    absolute_max: float | None = None  # s < absolute_max
    reference: str = "best"  # t of several positives: the largest, the mean, or the smallest ("worst")

    @property
    def relative(self) -> bool:
        """Whether a rule compares with the positive."""
        return self.margin is not None or self.max_score is not None


class Relevant(NamedTuple):
    """The p known positives of q queries: those of query i are starts[i]:starts[i + 1]."""

    starts: np.ndarray  # [q + 1] int64
    doc_row: np.ndarray  # [p] int64
    score: np.ndarray  # [p] float32, NaN = unknown


class Mined(NamedTuple):
    """Of q queries up to m negatives each, best first, filled up with row -1 and score -inf."""

    scores: np.ndarray  # [q, m] float32
    rows: np.ndarray  # [q, m] int64
    reference: np.ndarray  # [q] float32, what the positive scored; NaN = unknown
    kept: np.ndarray  # [q] int64, how many there were to pick from
    positive_score: np.ndarray  # [p] float32: as given, and otherwise as found
    dropped: dict[str, int]  # by rule


def check_rules(rules: Rules, depth: int | None = None) -> None:
    """Raises an InputError for a threshold outside its range, naming it as ``jaxir mine`` does.

    Args:
      depth: how many documents of each query there are to choose from.
    """
    check_known("pick", rules.pick, PICKS)
    check_known("reference", rules.reference, REFERENCES)
    if rules.per_query < 1:
        raise InputError(f"per_query is {rules.per_query}, it must be at least 1")
    if rules.seed < 0:
        raise InputError(f"the seed is {rules.seed}, it must be 0 or more")
    if rules.skip_top < 0:
        raise InputError(f"skip_top is {rules.skip_top}, it must be 0 or more")
    if depth is not None and depth < 1:
        raise InputError(f"depth is {depth}, it must be at least 1")
    if depth is not None and rules.skip_top >= depth:
        raise InputError(
            f"skip_top is {rules.skip_top} and depth {depth}: nothing would be left; raise depth above it"
        )
    if rules.margin is not None and not 0 <= rules.margin < math.inf:
        raise InputError(f"margin is {rules.margin}, it must be a number of at least 0")
    if rules.max_score is not None and not 0 < rules.max_score <= 1:
        raise InputError(
            f"max_score is {rules.max_score}, it must be above 0 and at most 1: a share of the positive's "
            "score (an absolute bound is absolute_max)"
        )
    if rules.absolute_max is not None and not math.isfinite(rules.absolute_max):
        raise InputError(f"absolute_max is {rules.absolute_max}, it must be a finite number")


def mine(
    scores: Float[np.ndarray, "q k"],
    rows: Int[np.ndarray, "q k"],
    relevant: Relevant,
    rules: Rules,
    *,
    text: Int[np.ndarray, "q k"] | None = None,
    positive_text: Int[np.ndarray, " p"] | None = None,
    query_text: Int[np.ndarray, " q"] | None = None,
    number: Int[np.ndarray, " q"] | None = None,
) -> Mined:
    r"""The negatives among the documents that a search found, by the rules of :class:`Rules`.

    A positive that the search found counts with the score it has there where ``relevant`` does not know one.
    A query whose positive has no score keeps nothing under a rule that compares with it: of an exact
    search, all that was found scores higher.

    The share ``max_score`` of a score below 0 would lie above it, so the bound is t - (1 - max_score) |t|: as
    far below the positive on either side of 0.

    Args:
      scores, rows: what a search found, best first; row -1 is none.
      text, positive_text, query_text: numbers of texts, equal for equal texts; None = every document is
        a text of its own.
      number: of each query, for the random picks: the same query gets the same ones in any company.

    Raises:
      InputError: what :func:`check_rules` refuses.

    References: NV-Retriever (Moreira et al. 2024, arXiv:2407.15831): margin is TopK-MarginPos, max_score
    TopK-PercPos, absolute_max TopK-Abs and skip_top TopK-Shift; ANCE (Xiong et al. 2020, arXiv:2007.00808)
    picks at random among the first.

    >>> relevant = Relevant(np.array([0, 1]), np.array([7]), np.array([np.nan], np.float32))
    >>> found = np.array([[0.9, 0.8, 0.75, 0.3]], np.float32), np.array([[4, 7, 5, 6]])
    >>> mined = mine(*found, relevant, Rules(per_query=2, max_score=0.95))
    >>> mined.rows.tolist(), mined.dropped["max_score"], mined.dropped["known positives"]
    ([[5, 6]], 1, 1)
    """
    check_rules(rules)
    q = len(rows)
    text = rows if text is None else text
    positive_text = relevant.doc_row if positive_text is None else positive_text
    owner = np.repeat(np.arange(q), np.diff(relevant.starts))
    positive_score = found_scores(scores, rows, relevant)
    reference = _reference(positive_score, owner, q, rules.reference)
    left = rows != NOT_FOUND
    dropped: dict[str, int] = {}

    def drop(rule: str, which: np.ndarray) -> None:
        nonlocal left
        dropped[rule] = int((left & which).sum())
        left = left & ~which

    drop(POSITIVE, _among(rows, owner, relevant.doc_row))
    drop(SAME_AS_POSITIVE, _among(text, owner, positive_text))
    drop(SAME_AS_QUERY, text == (-1 if query_text is None else query_text[:, None]))
    order = np.where(left, np.arange(rows.shape[1]), np.inf)  # what is dropped already repeats nothing
    drop(REPEATED, repeated(np.where(left, text, -1), order))
    drop(SKIPPED, np.cumsum(left, axis=1) <= rules.skip_top)
    bound = math.inf if rules.absolute_max is None else rules.absolute_max
    drop(ABSOLUTE, ~(scores < bound))
    t = reference[:, None]
    drop(UNKNOWN, np.isnan(t) & rules.relative)
    wide, no_bound = t.astype(np.float64), np.full(t.shape, np.inf)  # float64: a margin of 0 is t itself
    drop(MARGIN, scores >= (no_bound if rules.margin is None else wide - rules.margin))
    share = rules.max_score
    drop(RELATIVE, scores >= (no_bound if share is None else wide - (1 - share) * np.abs(wide)))
    picked = _pick(left, rules, np.arange(q) if number is None else number)
    width = rules.per_query
    missing = ((0, 0), (0, max(width - picked.shape[1], 0)))
    picked = np.pad(picked, missing, constant_values=-1)
    real, at = picked >= 0, np.maximum(picked, 0)
    return Mined(
        np.where(real, np.take_along_axis(scores, at, 1), -np.inf).astype(np.float32),
        np.where(real, np.take_along_axis(rows, at, 1), NOT_FOUND),
        reference,
        left.sum(axis=1),
        positive_score,
        dropped,
    )


def _among(values: np.ndarray, owner: np.ndarray, members: np.ndarray) -> Bool[np.ndarray, "q k"]:
    """Whether each value of query i is among the members whose owner is i."""
    size = max(int(values.max(initial=0)), int(members.max(initial=0))) + 1
    pairs = np.arange(len(values))[:, None] * size + values
    return (values >= 0) & np.isin(pairs, owner * size + members)


def found_scores(
    scores: Float[np.ndarray, "q k"], rows: Int[np.ndarray, "q k"], relevant: Relevant
) -> Float[np.ndarray, " p"]:
    """The positives' scores; where they are unknown those with which the search found them, or NaN."""
    owner = np.repeat(np.arange(len(rows)), np.diff(relevant.starts))
    known = relevant.score.astype(np.float32)
    size = max(int(rows.max(initial=0)), int(relevant.doc_row.max(initial=0))) + 1
    real = rows >= 0
    pairs = (np.arange(len(rows))[:, None] * size + rows)[real]
    order = np.argsort(pairs, kind="stable")
    wanted = owner * size + relevant.doc_row
    at = np.minimum(np.searchsorted(pairs[order], wanted), max(len(pairs) - 1, 0))
    if not len(pairs):
        return known
    found = np.where(pairs[order][at] == wanted, scores[real][order][at], np.nan)
    return np.where(np.isnan(known), found, known).astype(np.float32)


def _reference(score: np.ndarray, owner: np.ndarray, q: int, how: str) -> Float[np.ndarray, " q"]:
    """One score of each query's positives; those without one are left out."""
    known = ~np.isnan(score)
    owner, score = owner[known], score[known].astype(np.float64)
    count = np.bincount(owner, minlength=q)
    if how == "mean":
        total = np.bincount(owner, score, minlength=q) / np.maximum(count, 1)
    else:
        sign = 1 if how == "best" else -1
        total = np.full(q, -np.inf)
        np.maximum.at(total, owner, sign * score)
        total = sign * total
    return np.where(count > 0, total, np.nan).astype(np.float32)


def _pick(left: np.ndarray, rules: Rules, number: np.ndarray) -> Int[np.ndarray, "q m"]:
    """The columns that are picked of those left, in rank order; -1 behind them."""
    q, k = left.shape
    if rules.pick == "top":
        keys = np.broadcast_to(np.arange(k, dtype=np.float64), left.shape)
    else:
        keys = np.stack(
            [np.random.default_rng((rules.seed, int(i))).exponential(size=k) for i in number] or [np.zeros(k)]
        )[:q]
        if rules.pick == "weighted":  # the smallest of exponentials of rate 1 / rank: without replacement
            keys = keys * np.maximum(np.cumsum(left, axis=1), 1)
    keys = np.where(left, keys, np.inf)
    best = np.argsort(keys, axis=1, kind="stable")[:, : rules.per_query]
    best = np.sort(np.where(np.isfinite(np.take_along_axis(keys, best, 1)), best, k), axis=1)
    return np.where(best < k, best, -1)
