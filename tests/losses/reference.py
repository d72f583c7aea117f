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


def margin_mse(s, y, where, teacher, pairs="list"):
    if pairs == "all_pairs":
        e = [a - b for a, b, k in zip(s, teacher, where) if k]
        return sum((a - b) ** 2 for a in e for b in e) / len(e) ** 2 if len(e) > 1 else None
    others = [n for n in range(1, len(s)) if where[n]]
    if not where[0] or not others:
        return None
    return sum(((s[0] - s[n]) - (teacher[0] - teacher[n])) ** 2 for n in others) / len(others)


def kl_divergence(s, y, where, teacher, temperature=1.0, teacher_temperature=1.0, direction="forward"):
    s = [x / temperature for x in s]
    t = [x / teacher_temperature for x in teacher]
    if direction == "reverse":
        s, t = t, s
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


# -- losses of lists' orders


def _others(s, where, i):
    return [j for j in range(len(s)) if where[j] and j != i]


def _falling(y, where):
    """The real items by falling label, ties as they stand."""
    return sorted((i for i in range(len(y)) if where[i]), key=lambda i: -y[i])


def _pairs(y, where):
    real = [i for i in range(len(y)) if where[i]]
    return [(i, j) for i in real for j in real if y[i] > y[j]]


def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _smooth_rank(s, where, i, ranks, temperature):
    if ranks == "bound":
        return 1 + sum(max(0.0, 1 + s[j] - s[i]) for j in _others(s, where, i))
    return 1 + sum(1 / (1 + math.exp((s[i] - s[j]) / temperature)) for j in _others(s, where, i))


def approx_ndcg(s, y, where, ranks="approx", temperature=1.0):
    real = [i for i in range(len(s)) if where[i]]
    ideal = sum((2 ** y[i] - 1) / math.log2(2 + k) for k, i in enumerate(_falling(y, where)))
    gain = lambda i: (2 ** y[i] - 1) / math.log2(1 + _smooth_rank(s, where, i, ranks, temperature))
    return -sum(gain(i) for i in real) / ideal if ideal else 0.0


def approx_mrr(s, y, where, ranks="approx", temperature=1.0):
    positives = [i for i in range(len(s)) if where[i] and y[i] > 0]
    return -max((1 / _smooth_rank(s, where, i, ranks, temperature) for i in positives), default=0.0)


def list_mle(s, y, where):
    if not _pairs(y, where):
        return 0.0
    order, total = _falling(y, where), 0.0
    for k, i in enumerate(order):
        total += _log_z(s, [j in order[k:] for j in range(len(s))]) - s[i]
    return total


def weighted_ranknet(s, y, where, over_pairs="mean"):
    pairs = _pairs(y, where)
    rank = lambda i: 1 + sum(j == i for _, j in pairs)
    total = sum(_softplus(s[j] - s[i]) / (rank(i) + rank(j)) for i, j in pairs)
    return total / (max(len(pairs), 1) if over_pairs == "mean" else 1)


def ranklist(s, y, where, form="logsumexp", margin=0.0, skips="all"):
    order, total = _falling(y, where), 0.0
    for a, i in enumerate(order):
        below = [j for b, j in enumerate(order[a + 1 :], 1) if y[i] > y[j] and y[i] - y[j] >= margin
                 and (skips == "all" or b in (1, 2, 4, 8))]  # fmt: skip
        if form == "exact":
            total += sum(_softplus(s[j] - s[i]) for j in below)
        elif below:
            total += math.log(1 + sum(math.exp(s[j] - s[i]) for j in below))
    return total


def groco(s, y, where, negatives=10, steepness=1.0):
    """By the product of the network's matrices."""
    v = sorted(s[i] for i in range(len(s)) if where[i] and y[i] <= 0)[-negatives:]
    lower = len(v)
    v += sorted(s[i] for i in range(len(s)) if where[i] and y[i] > 0)
    ends, start = np.eye(len(v)), lower
    for layer in range(len(v)):
        swap = np.eye(len(v))
        for a in range(layer % 2, len(v) - 1, 2):
            stay = 0.5 + math.atan(steepness * (v[a + 1] - v[a])) / math.pi
            swap[a : a + 2, a : a + 2] = [[stay, 1 - stay], [1 - stay, stay]]
        v, ends = swap @ v, ends @ swap
    u = ends[:, start:].sum(-1)
    right = [p if i >= start else 1 - p for i, p in enumerate(u)]
    return -sum(math.log(p) for p in right) / len(right)


def wasserstein_1d(s, y, where):
    if not any(k and x > 0 for x, k in zip(y, where)):
        return 0.0
    zs, zy = _log_z(s, where), _log_z(y, where)
    total = moved = 0.0
    for i in _falling(y, where):
        moved += math.exp(s[i] - zs) - math.exp(y[i] - zy)
        total += abs(moved)
    return total


def soft_topk(s, k, steepness):
    """Of real candidates, by halving an interval until nothing changes."""
    if len(s) <= k:
        return [1.0] * len(s)
    low, high = -max(s) - 100 / steepness, -min(s) + 100 / steepness
    p = lambda t: [1 / (1 + math.exp(-steepness * (x + t))) for x in s]
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(p(middle)) < k else (low, middle)
    return p(low)


def soft_topk_loss(s, y, where, k=5, steepness=2.0):
    real = [i for i in range(len(s)) if where[i]]
    p = dict(zip(real, soft_topk([s[i] for i in real], k, steepness)))
    positives = [i for i in real if y[i] > 0]
    return -sum(math.log(p[i]) for i in positives) / max(len(positives), 1)


def rank_aware_nll(s, y, where):
    real = [i for i in range(len(s)) if where[i]]
    return sum(-s[i] * (1 + (1 / math.log2(y[i] + 1) if y[i] else 0)) for i in real) / len(real)


def robust_softmax(s, y, where, base_temperature=1.0, adaptive=True, rigidity=2.0, margin=0.0):
    real = [i for i in range(len(s)) if where[i]]
    total = sum(y[i] for i in real)
    if not total:
        return 0.0
    d = [s[i] + margin * (y[i] == 0) - sum(y[j] * s[j] for j in real) / total for i in real]
    n, own, pull = len(real), base_temperature, 0.0
    log_z = lambda t: _log_z([x / t for x in d], [True] * n)
    if adaptive and n > 1:
        for _ in range(1000):
            p = [math.exp(x / own - log_z(own)) for x in d]
            own = base_temperature * (1 - sum(q * math.log(n * q) for q in p) / (rigidity * math.log(n)))
        pull = rigidity * math.log(n) / (2 * base_temperature) * (own - base_temperature) ** 2
    return own * (log_z(own) - math.log(n)) - pull


def log_cosh(s, y, where, teacher, knee=2.0):
    real = [i for i in range(len(s)) if where[i]]
    return knee**2 * sum(math.log(math.cosh((s[i] - teacher[i]) / (2 * knee))) for i in real)


def in_batch_margin_mse(s, y, where, teacher, group=1):
    real = [i for i in range(len(s)) if where[i]]
    p = max(real, key=lambda i: y[i])
    others = [i for i in real if i // group != p // group]
    if not others:
        return None
    e = [a - b for a, b in zip(s, teacher)]
    return sum((e[p] - e[i]) ** 2 for i in others) / len(others) if y[p] > 0 else 0.0


def ranking_accuracy(s, y, where):
    pairs = _pairs(y, where)
    return sum(s[i] >= s[j] for i, j in pairs) / len(pairs) if pairs else None


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
    Case("margin_mse-all", losses.margin_mse, margin_mse, {"pairs": "all_pairs"}, teacher=True),
    Case("kl-reverse", losses.kl_divergence, kl_divergence, {"direction": "reverse"}, teacher=True),
    Case("approx_ndcg", losses.approx_ndcg, approx_ndcg, {"temperature": 0.5}),
    Case("approx_mrr", losses.approx_mrr, approx_mrr, {"ranks": "bound"}),
    Case("list_mle", losses.list_mle, list_mle),
    Case("weighted_ranknet", losses.weighted_ranknet, weighted_ranknet),
    Case("ranklist", losses.ranklist, ranklist),
    Case("ranklist-exact", losses.ranklist, ranklist, {"form": "exact", "margin": 2.0, "skips": "doubling"}),
    Case("groco", losses.groco, groco, {"negatives": 2, "steepness": 0.8}),
    Case("wasserstein_1d", losses.wasserstein_1d, wasserstein_1d),
    Case("soft_topk_loss", losses.soft_topk_loss, soft_topk_loss, {"k": 2}),
    Case("rank_aware_nll", losses.rank_aware_nll, rank_aware_nll),
    Case("robust-ldr", losses.robust_softmax, robust_softmax, {"adaptive": False, "base_temperature": 0.7}),
    Case("robust-aldr", losses.robust_softmax, robust_softmax, {"margin": 0.3}),
    Case("log_cosh", losses.log_cosh, log_cosh, teacher=True),
    Case("in_batch_margin_mse", losses.in_batch_margin_mse, in_batch_margin_mse, teacher=True),
    Case("ranking_accuracy", losses.ranking_accuracy, ranking_accuracy),
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
MATRICES = {"symmetric_softmax", "wasserstein"}
# What draws samples: test_policy_gradient.py holds it against the enumeration of all rankings.
SAMPLED = {"pl_policy_gradient"}
SCHEDULES = {"linear_ramp", "quadratic_ramp"}
# Parts of losses.
PARTS = {
    *("approx_ranks", "bound_ranks", "gumbel_scores", "soft_topk", "token_ranks"),
    *("df_weight", "ensemble", "sparsemax"),
}


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
