"""The hybrid of a dense and a lexical run: how they are fused, chosen on development queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxir.evaluation.measures import Qrels, evaluate, parse
from jaxir.retrieval import fusion

WEIGHTS = tuple(round(0.1 * i, 1) for i in range(11))
METHODS = {"min-max": fusion.weighted_min_max, "z-score": fusion.weighted_z_score}

Run = Mapping[str, Mapping[str, float]]


class Hybrid(NamedTuple):
    """``weight`` is the encoder's run's; the lexical run has 1 - weight."""

    method: str  # a key of METHODS
    weight: float
    chosen: str  # how: for people
    value: float | None = None  # the measure on the development queries
    what: str = "dense"  # the encoder's run

    def fuse(self, dense: Run, lexical: Run, *, depth: int | None = None) -> dict[str, dict[str, float]]:
        """The fused run, cut to its first ``depth`` documents per query."""
        fused = METHODS[self.method]([dense, lexical], [self.weight, 1 - self.weight])
        return {q: dict(list(docs.items())[:depth]) for q, docs in fused.items()}

    def __str__(self) -> str:
        weights = f"{self.weight:g} {self.what} + {1 - self.weight:g} BM25"
        return f"weighted {self.method}, {weights}, {self.chosen}"


FIXED = Hybrid("min-max", 0.5, "fixed, as there are no development queries")


def choose(
    dense: Run,
    lexical: Run,
    qrels: Qrels,
    *,
    measure: str = "MRR@10",
    weights: Sequence[float] = WEIGHTS,
) -> Hybrid:
    """The normalisation and the weight with the highest ``measure`` on these development queries.

    >>> dense, bm25 = {"q": {"a": 0.9, "b": 0.8, "c": 0.1}}, {"q": {"c": 9.0, "b": 8.0, "a": 1.0}}
    >>> print(choose(dense, bm25, {"q": {"b": 1}}))
    weighted min-max, 0.5 dense + 0.5 BM25, chosen by MRR@10 on 1 development queries
    """

    def value(run: Run, judged: Qrels) -> float:
        return evaluate(run, judged, measure)[measure]

    depth = parse(measure)[measure].params.get("cutoff")
    best = {
        name: fusion.best_weight(
            [dense, lexical], qrels, weights, value, fuse=mixer(fuse, dense, lexical, depth)
        )
        for name, fuse in METHODS.items()
    }
    method = max(best, key=lambda name: best[name].value)  # the first of equals
    weight = best[method].weight
    chosen = f"chosen by {measure} on {len(qrels)} development queries"
    return Hybrid(method, weight, chosen, best[method].value)


def mixer(fuse: fusion.Fuse, dense: Run, lexical: Run, depth: int | None = None) -> fusion.Fuse:
    """``fuse`` for any weights of these two runs, and their first ``depth`` documents, much faster.

    Normalised scores do not depend on the weights, so they are computed once, by fusing with the
    weights (1, 0) and (0, 1); every other pair is a linear combination.
    """
    first, second = fuse([dense, lexical], [1.0, 0.0]), fuse([dense, lexical], [0.0, 1.0])
    parts = {
        q: (list(docs), np.array([(score, second[q][doc]) for doc, score in docs.items()]))
        for q, docs in first.items()
    }

    def mix(runs: Sequence[Run], weights: Sequence[float]) -> dict[str, dict[str, float]]:
        mixed: dict[str, dict[str, float]] = {}
        for q, (docs, scores) in parts.items():
            total = scores.reshape(-1, 2) @ np.array(weights)
            best = np.argsort(-total, kind="stable")[:depth].tolist()
            mixed[q] = dict(zip([docs[i] for i in best], total[best].tolist()))
        return mixed

    return mix
