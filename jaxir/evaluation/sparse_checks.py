"""Checks of learned sparse representations for failures that raise no error but give wrong or slow search.

Functions of plain arrays that return findings, as in :mod:`jaxir.evaluation.vector_checks`. Rows are texts,
columns the terms of the vocabulary; ``name`` turns a column's number into something to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csr_array

from jaxir.evaluation.finding import Finding
from jaxir.evaluation.sparsity import active, document_shares

DENSE = 0.5
"""Share of the vocabulary above which a text's representation is called dense."""

Name = Callable[[int], str]


def numbers(rows: csr_array, what: str = "documents") -> list[Finding]:
    """No NaN, no infinity, no weight below 0."""
    check = f"{what}: weights"
    n = rows.shape[0]
    bad = _rows_with(rows, ~np.isfinite(rows.data))
    if bad:
        advice = "restart training from an earlier checkpoint with a lower learning rate, or in float32"
        return [Finding("fail", check, f"{bad} of {n} hold NaN or infinity", advice)]
    below = _rows_with(rows, rows.data < 0)
    if below:
        advice = "end the encoder with relu or log1p_relu: an inverted index takes weights of 0 or above"
        return [Finding("fail", check, f"{below} of {n} hold weights below 0", advice)]
    return [Finding("ok", check, f"{n} of {rows.shape[1]:,} terms, finite and none below 0")]


def active_terms(rows: csr_array, what: str = "documents") -> list[Finding]:
    """Neither empty texts nor texts that activate half of the vocabulary.

    Either fails where it concerns more than a tenth of the texts.
    """
    check = f"{what}: active terms"
    n, v = rows.shape
    counts = active(rows)
    empty, dense = int((counts == 0).sum()), int((counts > DENSE * v).sum())
    text = f"{counts.mean():,.0f} of {v:,} terms active on average, from {counts.min():,} to {counts.max():,}"
    found = []
    if empty:
        advice = (
            "look for empty texts; otherwise lower the weight of the sparsity term, or lengthen its ramp: it "
            "has switched every term off"
        )
        level = "fail" if empty > 0.1 * n else "warn"
        found.append(Finding(level, check, f"{empty} of {n} have no active term and are never found", advice))
    if dense:
        advice = "raise the weight of the sparsity term, or train longer: the encoder is not sparse (yet)"
        level = "fail" if dense > 0.1 * n else "warn"
        text_dense = f"{dense} of {n} activate more than half of the vocabulary ({text})"
        found.append(Finding(level, check, text_dense, advice))
    elif counts.mean() > 0.1 * v:
        advice = "an inverted index pays for each of them: raise the weight of the sparsity term"
        found.append(Finding("warn", check, text, advice))
    return found or [Finding("ok", check, text)]


def sinks(rows: csr_array, name: Name = str, what: str = "documents") -> list[Finding]:
    """No term that is active in nearly every text with a high weight: it tells texts nothing apart.

    A sink is active in 95% of the texts that have active terms, with at least half of a text's largest
    weight on average. It fails where sinks hold more than a quarter of all weight.
    """
    check = f"{what}: sinks"
    counts = active(rows)
    if not counts.any():
        return []
    rows = rows[np.flatnonzero(counts)]
    largest = np.maximum.reduceat(rows.data, rows.indptr[:-1])
    texts = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    held = np.bincount(rows.indices[rows.data != 0], minlength=rows.shape[1])
    relative = np.bincount(rows.indices, rows.data / largest[texts], minlength=rows.shape[1])
    mean = relative / np.maximum(held, 1)
    found = np.flatnonzero((held >= 0.95 * rows.shape[0]) & (mean >= 0.5))
    if not len(found) or rows.shape[0] < 2:
        widest = int(held.argmax())
        share = f"{held[widest] / rows.shape[0]:.0%} of the texts"
        return [Finding("ok", check, f"the widest-spread term, {name(widest)!r}, is active in {share}")]
    mass = np.bincount(rows.indices, rows.data, minlength=rows.shape[1])
    part = mass[found].sum() / mass.sum()
    first = found[np.argsort(-mass[found])][:5]
    named = ", ".join(f"{name(int(j))!r} ({mean[j]:.0%} of the largest weight)" for j in first)
    more = f" and {len(found) - len(first)} more" if len(found) > len(first) else ""
    return [
        Finding(
            "fail" if part > 0.25 else "warn",
            check,
            f"active in nearly every text: {named}{more}, with {part:.0%} of all weight",
            "regularise terms by document frequency (df_flops), or block them (encoder.blocked_ids)",
        )
    ]


def dead_vocabulary(
    rows: csr_array, occurring: Sequence[int] | np.ndarray | None = None, what: str = "documents"
) -> list[Finding]:
    """Enough of the vocabulary is in use.

    Args:
      occurring: the terms that occur in the texts of these rows. A tenth of them must be active in some
        text, and half should; without it the share of the vocabulary is stated alone.
    """
    check = f"{what}: dead vocabulary"
    used = document_shares(rows) > 0
    text = f"{1 - used.mean():.1%} of the vocabulary is active in none of {rows.shape[0]} texts"
    if occurring is None or not len(occurring):
        return [Finding("ok", check, text)]
    dead = 1 - float(used[np.asarray(occurring)].mean())
    text += f"; of the tokens that occur in them {dead:.1%}"
    advice = (
        "the encoder has given up most terms: lower the weight of the sparsity term, or lengthen its ramp"
    )
    if dead > 0.9:
        return [Finding("fail", check, text, advice)]
    return [Finding("warn", check, text, advice) if dead > 0.5 else Finding("ok", check, text)]


def special_terms(
    rows: csr_array, special: Sequence[int], name: Name = str, what: str = "documents"
) -> list[Finding]:
    """No special token ([CLS], [SEP], [PAD], ...) among the active terms."""
    check = f"{what}: special tokens"
    special = [j for j in special if j < rows.shape[1]]
    shares = document_shares(rows)[special] if special else np.zeros(0)
    on = [special[i] for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
    if not on:
        return [Finding("ok", check, "none is active")]
    by_id = dict(zip(special, shares))
    named = ", ".join(f"{name(j)!r} in {by_id[j]:.0%}" for j in on[:5])
    return [
        Finding(
            "warn",
            check,
            f"active in texts: {named}{', ...' if len(on) > 5 else ''}",
            "they match no word: block them (encoder.blocked_ids=('special',)) to save postings",
        )
    ]


def _rows_with(rows: csr_array, wrong: np.ndarray) -> int:
    at = np.flatnonzero(wrong)
    return len(np.unique(np.searchsorted(rows.indptr, at, side="right"))) if len(at) else 0
