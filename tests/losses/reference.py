"""Every public loss and regulariser, written again in plain float64 Python loops.

Each reference takes numpy arrays of one list (or of all rows, for regularisers) and returns a number.
The tests of this folder run every public name of jaxir.losses through the same properties; a new one
without an entry here fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxir import losses


def _log_z(s, keep):
    values = [x for x, k in zip(s, keep) if k]
    top = max(values)
    return top + math.log(sum(math.exp(x - top) for x in values))


def softmax(s, y, where, positives="soft_targets", label_smoothing=0.0, smoothing="all", temperature=1.0):
    s = [x / temperature for x in s]
    real = [i for i in range(len(s)) if where[i]]
    pos = [i for i in real if y[i] > 0]
    if not pos:
        return 0.0
    keep = list(where)
    if positives == "log_sum":
        return _log_z(s, keep) - _log_z(s, [i in pos for i in range(len(s))])
    if positives == "decoupled":
        out = 0.0
        for p in pos:
            out += _log_z(s, [i == p or (i in real and i not in pos) for i in range(len(s))]) - s[p]
        return out / len(pos)
    target = {i: (1.0 if positives == "mean_log" else float(y[i])) for i in pos}
    if positives != "soft_targets_raw":
        total = sum(target.values())
        target = {i: t / total for i, t in target.items()}
    if label_smoothing:
        over = real if smoothing == "all" else [i for i in real if i not in pos]
        target = {
            i: (1 - label_smoothing) * target.get(i, 0) + (label_smoothing / len(over) if i in over else 0)
            for i in real
        }
    log_z = _log_z(s, keep)
    return sum(t * (log_z - s[i]) for i, t in target.items())


def margin_mse(s, y, where, teacher):
    others = [n for n in range(1, len(s)) if where[n]]
    if not where[0] or not others:
        return None
    return sum(((s[0] - s[n]) - (teacher[0] - teacher[n])) ** 2 for n in others) / len(others)


def kl_divergence(s, y, where, teacher, temperature=1.0, teacher_temperature=1.0):
    s = [x / temperature for x in s]
    t = [x / teacher_temperature for x in teacher]
    zs, zt = _log_z(s, where), _log_z(t, where)
    return sum(math.exp(t[i] - zt) * ((t[i] - zt) - (s[i] - zs)) for i in range(len(s)) if where[i])


def flops(w, where):
    rows = [r for r, k in zip(w, where) if k]
    return sum((sum(abs(r[j]) for r in rows) / len(rows)) ** 2 for j in range(len(w[0])))


def l1(w, where):
    rows = [r for r, k in zip(w, where) if k]
    return sum(abs(x) for r in rows for x in r) / len(rows)


class Case(NamedTuple):
    name: str
    loss: Callable[..., Any]
    reference: Callable[..., Any]  # None means: the list is left out of the mean
    options: Mapping[str, Any] = MappingProxyType({})
    teacher: bool = False

    def __str__(self):
        return self.name


LISTS = [
    *(
        Case(f"softmax-{p}", losses.softmax, softmax, {"positives": p})
        for p in ("soft_targets", "mean_log", "log_sum", "decoupled", "soft_targets_raw")
    ),
    Case("softmax-tau", losses.softmax, softmax, {"temperature": 0.3}),
    Case("softmax-smooth", losses.softmax, softmax, {"label_smoothing": 0.1}),
    Case("softmax-smooth-neg", losses.softmax, softmax, {"label_smoothing": 0.2, "smoothing": "negatives"}),
    Case("margin_mse", losses.margin_mse, margin_mse, teacher=True),
    Case(
        "kl_divergence",
        losses.kl_divergence,
        kl_divergence,
        {"temperature": 0.7, "teacher_temperature": 2.0},
        teacher=True,
    ),
]
REGULARISERS = [Case("flops", losses.flops, flops), Case("l1", losses.l1, l1)]
# Losses of a whole matrix have their own tests; schedules are functions of the step.
MATRICES = {"symmetric_softmax"}
SCHEDULES = {"linear_ramp", "quadratic_ramp"}


def random_lists(seed=0, b=8, n=6, grades=4):
    """Scores, labels, where (uneven, one list empty, one without positives) and teacher scores."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(b, n)) * 2
    labels = rng.integers(0, grades, size=(b, n)).astype(float)
    labels[:, 0] = np.maximum(labels[:, 0], 1)
    where = rng.random((b, n)) < 0.7
    where[:, 0] = True
    where[2] = False
    labels[3] = 0
    where[0] = True
    return scores, labels, where, rng.normal(size=(b, n)) * 3
