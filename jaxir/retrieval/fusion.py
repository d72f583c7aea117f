"""Fusion of runs: several rankings of the same queries -> one.

Statistics (minimum, maximum, mean, standard deviation) are over each run's own retrieved documents
of the query. A document that a run did not retrieve gets that run's lowest normalised score, so that
being absent is never better than being last. A run whose scores are all equal says nothing and adds 0.

With one weight per run, ``score(d) = sum_i weight_i * normalise_i(score_i(d))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from jaxir.checks import InputError

Run = Mapping[str, Mapping[str, float]]
Fused = dict[str, dict[str, float]]
Fuse = Callable[[Sequence[Run], Sequence[float]], Fused]


def weighted_min_max(runs: Sequence[Run], weights: Sequence[float]) -> Fused:
    """``(s - min) / (max - min)`` per run and query, weighted and added. Range 0 ... sum of weights.

    >>> weighted_min_max([{"q": {"a": 9.0, "b": 5.0}}, {"q": {"b": 0.2, "c": 0.1}}], [0.5, 0.5])
    {'q': {'a': 0.5, 'b': 0.5, 'c': 0.0}}
    """
    return _weighted(runs, weights, _min_max)


def weighted_z_score(runs: Sequence[Run], weights: Sequence[float]) -> Fused:
    """``(s - mean) / std`` per run and query (population std), weighted and added."""
    return _weighted(runs, weights, _z_score)


def weighted_raw(runs: Sequence[Run], weights: Sequence[float]) -> Fused:
    """The scores as they are, weighted and added: for runs of one encoder's parts, trained together."""
    return _weighted(runs, weights, lambda found: dict(found))


def reciprocal_rank(runs: Sequence[Run], weights: Sequence[float] | None = None, *, k: int = 60) -> Fused:
    """``sum_i weight_i / (k + rank_i(d))``, ranks from 1; an absent document adds 0.

    Equal scores rank in the run's own order. Cormack, Clarke, Buettcher, SIGIR 2009, with k = 60.
    """
    weights = [1.0] * len(runs) if weights is None else weights
    _check(runs, weights)
    fused: Fused = {}
    for query_id in _query_ids(runs):
        total: dict[str, float] = {}
        for run, weight in zip(runs, weights):
            for rank, doc_id in enumerate(_ranked(run.get(query_id, {})), 1):
                total[doc_id] = total.get(doc_id, 0.0) + weight / (k + rank)
        fused[query_id] = _sorted(total)
    return fused


class BestWeight(NamedTuple):
    weight: float  # of the first run; the second has 1 - weight
    value: float  # the measure at that weight
    curve: dict[float, float]  # every weight tried -> its value


def best_weight(
    runs: Sequence[Run],
    qrels: Mapping[str, Mapping[str, int]],
    weights: Sequence[float],
    measure: Callable[[Fused, Mapping[str, Mapping[str, int]]], float],
    *,
    fuse: Fuse = weighted_min_max,
) -> BestWeight:
    """The first run's weight w (the second's is 1 - w) with the highest measure.

    Choose it on development queries and apply it to test queries. Of equal values the weight nearest
    to 0.5 wins: it leans least on either run.

    Args:
      runs: two runs.
      weights: the values of w to try, each in [0, 1].
      measure: ``measure(run, qrels) -> float``, higher is better.
    """
    if len(runs) != 2:
        raise InputError(f"best_weight chooses between 2 runs, {len(runs)} were given")
    if not weights or not all(0 <= w <= 1 for w in weights):
        raise InputError(f"the weights to try must lie between 0 and 1, given: {list(weights)}")
    curve = {float(w): float(measure(fuse(runs, [w, 1 - w]), qrels)) for w in weights}
    best = max(curve, key=lambda w: (curve[w], -abs(w - 0.5)))
    return BestWeight(best, curve[best], curve)


def _weighted(
    runs: Sequence[Run],
    weights: Sequence[float],
    normalise: Callable[[Mapping[str, float]], dict[str, float]],
) -> Fused:
    _check(runs, weights)
    fused: Fused = {}
    for query_id in _query_ids(runs):
        parts = [normalise(run.get(query_id, {})) for run in runs]
        lowest = [min(part.values(), default=0.0) for part in parts]
        doc_ids = dict.fromkeys(doc_id for part in parts for doc_id in part)
        fused[query_id] = _sorted(
            {
                doc_id: sum(
                    weight * part.get(doc_id, low) for weight, part, low in zip(weights, parts, lowest)
                )
                for doc_id in doc_ids
            }
        )
    return fused


def _min_max(found: Mapping[str, float]) -> dict[str, float]:
    if not found:
        return {}
    low, high = min(found.values()), max(found.values())
    if low == high:
        return dict.fromkeys(found, 0.0)
    return {doc_id: (score - low) / (high - low) for doc_id, score in found.items()}


def _z_score(found: Mapping[str, float]) -> dict[str, float]:
    if not found:
        return {}
    mean = math.fsum(found.values()) / len(found)
    std = math.sqrt(math.fsum((s - mean) ** 2 for s in found.values()) / len(found))
    # Rounding leaves equal scores a std of about 1e-16 of their size: that is 0.
    if std <= 1e-12 * abs(mean):
        return dict.fromkeys(found, 0.0)
    return {doc_id: (score - mean) / std for doc_id, score in found.items()}


def _check(runs: Sequence[Run], weights: Sequence[float]) -> None:
    if not runs or len(runs) != len(weights):
        raise InputError(f"{len(runs)} runs come with {len(weights)} weights; give one per run")
    if not all(math.isfinite(w) and w >= 0 for w in weights):
        raise InputError(f"weights must be 0 or above, given: {list(weights)}")
    for number, run in enumerate(runs):
        for query_id, found in run.items():
            if not all(map(math.isfinite, found.values())):
                raise InputError(f"run {number + 1} has a score that is no number for {query_id!r}")


def _query_ids(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(query_id for run in runs for query_id in run))


def _ranked(found: Mapping[str, float]) -> list[str]:
    return sorted(found, key=lambda doc_id: -found[doc_id])


def _sorted(total: dict[str, float]) -> dict[str, float]:
    return {doc_id: total[doc_id] for doc_id in _ranked(total)}
