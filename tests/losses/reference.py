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

import jax.numpy as jnp
import numpy as np

from jaxir import losses
from jaxir.losses.sparsity import GROUPS


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


def sparsemax(z):
    """The projection onto the simplex, by trying every size of the support."""
    order = sorted(z, reverse=True)
    k = max(k for k in range(1, len(z) + 1) if 1 + k * order[k - 1] > sum(order[:k]))
    tau = (sum(order[:k]) - 1) / k
    return [max(x - tau, 0.0) for x in z]


def sparsemax_loss(s, y, where):
    s, y = [x for x, k in zip(s, where) if k], [x for x, k in zip(y, where) if k]
    if not any(x > 0 for x in y):
        return 0.0
    q = [x / sum(y) for x in y]
    p = sparsemax(s)
    return sum((z - x) ** 2 - (z - a) ** 2 for z, x, a in zip(s, q, p)) / 2


# Of a regulariser: the value of one group of real rows; `slots` takes them together.


def mean(rows):
    return [sum(abs(r[j]) for r in rows) / len(rows) for j in range(len(rows[0]))]


def flops(rows):
    return sum(m**2 for m in mean(rows))


def l1(rows):
    return sum(mean(rows))


def anti_zero(rows, floor=1e-3):
    return 1 / max(sum(abs(x) for r in rows for x in r), floor) ** 2


def l0_mask_flops(rows, threshold):
    return flops([r if sum(x != 0 for x in r) > threshold else [0.0] * len(r) for r in rows])


def expected_flops(rows):
    pairs = [(a, b) for i, a in enumerate(rows) for k, b in enumerate(rows) if i != k]
    return sum(x != 0 and z != 0 for a, b in pairs for x, z in zip(a, b)) / len(pairs) if pairs else 0.0


def idf_flops(rows, idf):
    return sum((m / i) ** 2 for m, i in zip(mean(rows), idf) if i > 0)


def df_weight(x, alpha, beta):
    return 1 / (1 + (min(max(x, 1e-6), 1.0) ** (math.log(2) / math.log(alpha)) - 1) ** beta)


def df_flops(rows, df, alpha=0.1, beta=10.0):
    return sum((m * df_weight(x, alpha, beta)) ** 2 for m, x in zip(mean(rows), df))


def slots(fn, w, where, groups="pooled", **options):
    if groups == "pooled":
        w, where = w.reshape(-1, 1, w.shape[-1]), where.reshape(-1, 1)
    values = [fn(w[where[:, s], s].tolist(), **options) for s in range(w.shape[1]) if where[:, s].any()]
    return sum(values) / (len(values) if groups == "mean_over_slots" else 1)


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
    Case("sparsemax_loss", losses.sparsemax_loss, sparsemax_loss),
]
IDF, DF = (0.5, 1.0, 0.0, 2.0, 3.0), (0.0, 0.02, 0.1, 0.3, 1.0)  # of the 5 dimensions of random_rows


def regulariser(name, groups="pooled", arrays=MappingProxyType({}), **options):
    reference = {**globals(), "idf_match_flops": flops}[name]
    return Case(
        f"{name}-{groups}",
        lambda w, **how: getattr(losses, name)(
            w, **{k: jnp.asarray(x, w.dtype) for k, x in arrays.items()}, groups=groups, **options, **how
        ),
        lambda w, where: slots(reference, w, where, groups, **options, **arrays),
    )


REGULARISERS = [
    *(regulariser("flops", groups) for groups in GROUPS),
    regulariser("l1"),
    regulariser("l1", "sum_over_slots"),
    regulariser("anti_zero"),
    regulariser("anti_zero", "mean_over_slots"),
    regulariser("l0_mask_flops", threshold=2),
    regulariser("l0_mask_flops", "sum_over_slots", threshold=2),
    regulariser("expected_flops"),
    regulariser("expected_flops", "mean_over_slots"),
    regulariser("idf_flops", "sum_over_slots", {"idf": IDF}),
    regulariser("idf_match_flops", "mean_over_slots"),
    regulariser("df_flops", arrays={"df": DF}),
    regulariser("df_flops", "mean_over_slots", {"df": DF}, alpha=0.2, beta=3.0),
]
# Losses of a whole matrix have their own tests; schedules are functions of the step.
MATRICES = {"symmetric_softmax"}
SCHEDULES = {"linear_ramp", "quadratic_ramp"}
# Parts of losses.
PARTS = {"df_weight", "ensemble", "sparsemax"}


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


def random_rows(seed=0, b=8, n=3):
    """Weights [b, n, 5] with zeros, where (uneven; the last slot of few)."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(b, n, 5)) * (rng.random((b, n, 5)) < 0.6)
    where = rng.random((b, n)) < 0.6
    where[0] = True
    where[:, 2] = np.arange(b) < 2
    return w, where
