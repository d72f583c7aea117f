"""Checks of vectors and indexes for failures that raise no error but give wrong scores.

Every check is a function of plain arrays that returns findings; :mod:`jaxir.evaluation.doctor` gathers
the arrays from a work directory or an index.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxir.evaluation.finding import Finding


def finite(vectors: np.ndarray, what: str = "vectors") -> list[Finding]:
    """No NaN, no infinity, no vector of zeros."""
    check = f"{what}: finite"
    bad = int((~np.isfinite(vectors)).any(axis=1).sum())
    zero = int((vectors == 0).all(axis=1).sum())
    if bad:
        return [
            Finding(
                "fail",
                check,
                f"{bad} of {len(vectors)} hold NaN or infinity",
                "restart training from an earlier checkpoint with a lower learning rate, or in float32",
            )
        ]
    if zero:
        return [
            Finding(
                "fail" if zero > 0.1 * len(vectors) else "warn",
                check,
                f"{zero} of {len(vectors)} are all zero; they match everything equally",
                "look for empty texts and for a padding mask that hides every token",
            )
        ]
    return [Finding("ok", check, f"{len(vectors)} of {vectors.shape[1]} dimensions, none NaN or zero")]


def collapse(vectors: np.ndarray, what: str = "vectors") -> list[Finding]:
    """Mean cosine between different texts: near 1 means that all texts look the same.

    Fails above 0.95, warns above 0.75; an untrained or healthy encoder lies far below.
    """
    cosine = mean_pairwise_cosine(vectors)
    check = f"{what}: collapse"
    text = f"mean cosine between different texts {cosine:.3f}"
    advice = (
        "train with a lower temperature or more negatives; with max pooling or a decoder, "
        "look for a special token that dominates every text"
    )
    if cosine > 0.95:
        return [Finding("fail", check, f"{text}: collapsed, limit 0.95", advice)]
    if cosine > 0.75:
        return [Finding("warn", check, f"{text}: crowded, usual is below 0.75", advice)]
    return [Finding("ok", check, text)]


def mean_pairwise_cosine(vectors: np.ndarray) -> float:
    """Mean cosine over all pairs of different rows, in linear time: (|sum u|^2 - n) / (n (n - 1)).

    >>> mean_pairwise_cosine(np.eye(4)), mean_pairwise_cosine(np.ones((3, 2)))
    (0.0, 1.0)
    """
    v = np.asarray(vectors, np.float64)
    v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-30)
    n = len(v)
    if n < 2:
        return 0.0
    return float(round((np.square(v.sum(axis=0)).sum() - np.square(v).sum()) / (n * (n - 1)), 12))


def dimensions(vectors: np.ndarray, what: str = "vectors") -> list[Finding]:
    """How many dimensions carry anything: constant ones, and the effective rank.

    The effective rank is exp(entropy) of the normalised singular values (Roy and Vetterli 2007):
    d for a round cloud, 1 when everything lies on a line.
    """
    check = f"{what}: dimensions"
    n, d = vectors.shape
    v = np.asarray(vectors, np.float64)
    spread = v.std(axis=0)
    constant = int((spread <= 1e-6 * max(float(np.abs(v).max()), 1e-30)).sum())
    rank = effective_rank(v)
    share = rank / max(1, min(n - 1, d))
    text = f"effective rank {rank:.1f} of {min(n - 1, d)} possible, {constant} of {d} constant"
    advice = "raise the learning rate or the number of negatives, or lower the dimension"
    if rank < 2:
        return [Finding("fail", check, text, advice)]
    if share < 0.05 or constant > 0.1 * d:
        return [Finding("warn", check, text, advice)]
    return [Finding("ok", check, text)]


def effective_rank(vectors: np.ndarray) -> float:
    """exp(entropy) of the singular values of the centred rows; 0 when all rows are equal.

    >>> round(effective_rank(np.concatenate([np.eye(4), -np.eye(4)])), 6)
    4.0
    """
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    total = values.sum()
    if total <= 1e-12 * max(float(np.abs(vectors).max()), 1e-30) * len(vectors):
        return 0.0
    p = values[values > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def normalisation(
    vectors: np.ndarray, *, normalized: bool, metric: str, what: str = "vectors"
) -> list[Finding]:
    """Lengths against what the manifest says (``normalized``) and what the metric needs.

    A dot product of vectors that should have length 1 and have not ranks by length.
    """
    check = f"{what}: length"
    norms = np.linalg.norm(np.asarray(vectors, np.float64), axis=1)
    norms = norms[norms > 0] if norms.any() else norms  # zeros are another check's finding
    text = f"lengths {norms.min():.3f} to {norms.max():.3f}, metric {metric}"
    off = np.abs(norms - 1).max() > 0.01  # float16 and bfloat16 stay below
    if normalized and off:
        return [
            Finding(
                "fail",
                check,
                f"{text}, but they are declared to have length 1",
                "encode again with this model; the vectors come from another one or were changed",
            )
        ]
    if metric == "cosine" and off:
        return [
            Finding(
                "fail",
                check,
                f"{text}: a dot product of these is not their cosine",
                "normalise the encoder's output (normalize=True) or use the metric dot",
            )
        ]
    if not normalized and norms.std() > norms.mean():
        return [
            Finding(
                "warn",
                check,
                f"{text}: length varies more than its mean and will dominate the ranking",
                "consider normalising the encoder's output",
            )
        ]
    return [Finding("ok", check, text)]


def padding(alone: np.ndarray, padded: np.ndarray) -> list[Finding]:
    """The same texts encoded one by one ``[n, d]`` and in one padded batch ``[n, d]`` must agree."""
    check = "padding"
    a, b = np.asarray(alone, np.float64), np.asarray(padded, np.float64)
    scale = np.maximum(np.linalg.norm(a, axis=1), 1e-30)
    error = float((np.linalg.norm(a - b, axis=1) / scale).max())
    text = f"relative difference alone / in a padded batch {error:.1e}"
    advice = "the mask is not used somewhere: in attention, in pooling or in a normalisation"
    if not error <= 0.02:  # NaN fails as well
        return [Finding("fail", check, text, advice)]
    if error > 1e-3:
        return [Finding("warn", check, f"{text}: usual for bfloat16, not for float32", advice)]
    return [Finding("ok", check, text)]


def agreement(stored: np.ndarray, fresh: np.ndarray) -> list[Finding]:
    """Vectors on disk against the same texts encoded now: cosine below 0.99 means another model,
    prefix, text field or tokenizer."""
    check = "stored vectors"
    a, b = np.asarray(stored, np.float64), np.asarray(fresh, np.float64)
    if a.shape != b.shape:
        text = f"stored have shape {a.shape}, the model gives {b.shape}"
        return [Finding("fail", check, text, "encode the collection with this model")]
    dots = (a * b).sum(axis=1)
    cosine = dots / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)
    low = float(cosine.min())
    text = f"cosine between stored and fresh vectors at least {low:.4f}"
    if not low >= 0.99:
        bad = int((~(cosine >= 0.99)).sum())
        return [
            Finding(
                "fail",
                check,
                f"{text}; {bad} of {len(a)} differ",
                "encode again: the model, its prefix or the text fields have changed since",
            )
        ]
    return [Finding("ok", check, text)]


def self_retrieval(
    search: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
    vectors: np.ndarray,
    rows: np.ndarray,
    *,
    what: str = "stored vectors as queries",
    least: float = 0.9,
    good: float = 0.99,
) -> list[Finding]:
    """Documents as queries must find themselves first, or one that scores the same (a duplicate).

    Args:
      search: (queries [q, d], k) -> (scores [q, k], rows [q, k]).
      vectors: [q, d], the documents as queries.
      rows: [q], their rows in the index.
      least: the share below which it is a failure; below ``good`` it is a warning.
    """
    scores, found = search(np.asarray(vectors, np.float32), 10)
    same = (found == rows[:, None]) & (scores >= scores[:, :1] - 1e-4 * np.abs(scores[:, :1]))
    share = float(same.any(axis=1).mean())
    check = f"self-retrieval: {what}"
    text = f"{share:.1%} of {len(rows)} documents find themselves first"
    advice = "the index and its vectors disagree, or queries and documents are encoded differently"
    if share < least:
        return [Finding("fail", check, text, advice)]
    if share < good:
        return [Finding("warn", check, text, advice)]
    return [Finding("ok", check, text)]


def recall_against_exact(found: np.ndarray, exact: np.ndarray) -> list[Finding]:
    """Recall of an approximate index: the share of the exact top k ``[q, k]`` among ``found``."""
    share = overlap(found, exact)
    k = exact.shape[1]
    text = f"recall@{k} against exact search {share:.3f} on {len(exact)} queries"
    advice = "search more leaves or reorder more candidates"
    if share < 0.8:
        return [Finding("fail", "ScaNN recall", text, advice)]
    return [Finding("warn" if share < 0.95 else "ok", "ScaNN recall", text, advice if share < 0.95 else "")]


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    """Mean share of each row of ``exact`` [q, k] that is in the same row of ``found`` [q, any];
    -1 is no result.

    >>> overlap(np.array([[3, 1, -1]]), np.array([[1, 2]]))
    0.5
    """
    hits = sum(len(set(f[f >= 0].tolist()) & set(e[e >= 0].tolist())) for f, e in zip(found, exact))
    return hits / max(1, int((exact >= 0).sum()))
