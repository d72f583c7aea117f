"""Is the difference of two runs more than chance? Tests over paired per-query values.

The randomisation (sign-flip, Fisher-Pitman) test: were the runs equal, each query's difference
d_q = a_q - b_q could as well have had the other sign. The p-value is the share of sign patterns s whose
abs(sum_q s_q d_q) reaches the observed abs(sum_q d_q): two-sided, and no distribution is assumed
(Smucker, Allan and Carterette 2007, "A comparison of statistical significance tests for IR").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from jaxir.checks import InputError, check_known

EXACT_UP_TO = 20
"""Up to so many queries that differ, all 2^n sign patterns are enumerated (a million at most)."""

_CELLS = 4_000_000  # numbers per block of draws: 32 MB at most

Correction = Literal["holm", "bonferroni", "none"]


class Comparison(NamedTuple):
    """Run a against run b, over the queries of one measure."""

    difference: float  # mean of a minus mean of b
    p: float  # two-sided randomisation test
    low: float  # bootstrap confidence interval of the difference
    high: float
    wins: int  # queries where a is better
    ties: int
    losses: int


def compare(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    samples: int = 100_000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Difference, p-value, interval and win counts of two runs' ``{query_id: value}``.

    Raises:
      InputError: the runs were measured on different queries, or on none.
    """
    d = differences(a, b)
    low, high = bootstrap_interval(d, level=level, seed=seed)
    p = randomisation_test(d, samples=samples, seed=seed)
    better, worse = int((d > 0).sum()), int((d < 0).sum())
    return Comparison(float(d.mean()), p, low, high, better, len(d) - better - worse, worse)


def differences(a: Mapping[str, float], b: Mapping[str, float]) -> np.ndarray:
    """a_q - b_q for every query, [n] float64."""
    if a.keys() != b.keys():
        only = next(iter(a.keys() ^ b.keys()))
        raise InputError(
            f"paired values need the same queries: {len(a)} and {len(b)} given, "
            f"{only!r} is in one of them only"
        )
    if not a:
        raise InputError("there are no queries to compare")
    return np.array([a[q] - b[q] for q in a], np.float64)


def randomisation_test(
    d: np.ndarray, *, samples: int = 100_000, seed: int = 0, exact_up_to: int = EXACT_UP_TO
) -> float:
    """Two-sided p-value of the mean of the paired differences ``d`` [n].

    Differences of 0 change no sum, so they are dropped; up to ``exact_up_to`` others the p-value is
    exact. Beyond, ``samples`` patterns are drawn and p = (count + 1) / (samples + 1), which is never
    0 and errs to the safe side (Phipson and Smyth 2010).

    >>> randomisation_test(np.ones(5))  # only ++++ + and ----- reach the sum: 2 / 2^5
    0.0625
    """
    d = np.asarray(d, np.float64)
    if not np.isfinite(d).all():
        raise InputError("the differences hold NaN or infinity")
    d = d[d != 0]
    if not len(d):
        return 1.0
    # Equal sums added up in another order differ in the last bits and must count as reached.
    reach = abs(d.sum()) - 1e-9 * np.abs(d).sum()
    if len(d) <= exact_up_to:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= reach).mean())
    tables = _subset_sums(d)
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // len(tables))
    count = 0
    for start in range(0, samples, block):
        size = (len(tables), min(block, samples - start))
        bits = rng.integers(0, 256, size, dtype=np.uint8)
        flipped = np.zeros(size[1])
        for table, byte in zip(tables, bits):
            flipped += table[byte]
        count += int((np.abs(d.sum() - 2 * flipped) >= reach).sum())
    return (count + 1) / (samples + 1)


def _subset_sums(d: np.ndarray) -> np.ndarray:
    """[n / 8, 256]: sums over every subset of eight values, so that a random byte flips eight."""
    eights = np.pad(d, (0, -len(d) % 8)).reshape(-1, 8)
    subsets = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return eights @ subsets.T


def bootstrap_interval(
    d: np.ndarray, *, level: float = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of ``d`` [n], queries drawn with replacement.

    >>> bootstrap_interval(np.full(7, 0.25))
    (0.25, 0.25)
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}, it must lie between 0 and 1, for example 0.95")
    d = np.asarray(d, np.float64)
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // len(d))
    means = [
        d[rng.integers(0, len(d), (min(block, samples - start), len(d)))].mean(axis=1)
        for start in range(0, samples, block)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def adjust(p_values: Sequence[float], method: Correction = "holm") -> list[float]:
    """p-values of several comparisons, corrected so that one limit holds for all of them together.

    ``holm`` is never weaker than ``bonferroni`` and needs no assumption more.

    >>> adjust([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    >>> adjust([0.01, 0.04, 0.03], "bonferroni")
    [0.03, 0.12, 0.09]
    """
    check_known("correction", method, ("holm", "bonferroni", "none"))
    p = np.asarray(p_values, np.float64)
    if method == "none" or not len(p):
        return p.tolist()
    if method == "bonferroni":
        return np.minimum(p * len(p), 1).tolist()
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted.tolist()
