"""Which texts are encoded together: batches of similar length, in few shapes, with little padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxir.checks import check_positive
from jaxir.data.padding import LADDER, step_of

FULL_LAST_BATCH = 8
"""From so many batches on, the last one is padded to its full size: a shape less to compile."""

CPU_LADDER = (16, *range(32, 257, 32), *range(320, 513, 64))
"""Even steps where padding costs time at once; each is a program that takes a second or two to compile."""


OUTPUT_BYTES = 1 << 28
"""Of a batch's representations, where these are as wide as a vocabulary."""


def suited(platform: str, transformer: bool = False, wide: int = 0) -> tuple[int, tuple[int, ...]]:
    """Tokens per batch and padded lengths that suit a platform ("cpu", "gpu", "tpu") and an encoder.

    A transformer on a CPU is fastest where a batch's hidden states stay in its caches.

    Args:
      wide: numbers per representation of a sparse encoder: batches of short texts have many rows.
    """
    if platform != "cpu":
        tokens, ladder = 1 << 17, LADDER
    else:
        tokens, ladder = (1 << 11, CPU_LADDER) if transformer else (1 << 14, LADDER)
    if wide:
        most_rows = max(OUTPUT_BYTES // (4 * wide), 1)
        tokens = min(tokens, 1 << (most_rows * min(ladder)).bit_length() - 1)
    return tokens, ladder


class Planned(NamedTuple):
    """One batch: these texts, padded to ``length`` tokens and ``size`` rows."""

    texts: np.ndarray  # positions in the list that was planned for
    length: int
    size: int


def plan(
    lengths: Int[np.ndarray, " n"],
    *,
    tokens_per_batch: int,
    ladder: Sequence[int] = LADDER,
    max_length: int | None = None,
) -> list[Planned]:
    """Batches over all texts, longest first, each of about ``tokens_per_batch`` tokens.

    The longest text that is left sets a batch's length (a step of the ladder) and so its number of
    rows; the next shorter texts fill it up. There is one shape per step, and memory is at its peak in
    the first batch and not in the last.

    >>> plan(np.array([3, 30, 5]), tokens_per_batch=32)
    [Planned(texts=array([1]), length=32, size=1), Planned(texts=array([2, 0]), length=16, size=2)]

    Args:
      max_length: the longest input of the encoder, which no step exceeds.

    Raises:
      InputError: ``tokens_per_batch`` is not positive.
    """
    check_positive("tokens_per_batch", tokens_per_batch)
    order = np.argsort(-lengths, kind="stable")
    batches: list[Planned] = []
    start = 0
    while start < len(order):
        length = step_of(int(lengths[order[start]]), ladder)
        length = length if max_length is None else min(length, max_length)
        rows = _rows(length, tokens_per_batch)
        texts = order[start : start + rows]
        if len(texts) < rows and len(batches) < FULL_LAST_BATCH:
            rows = min(rows, 1 << (len(texts) - 1).bit_length())
        batches.append(Planned(texts, length, rows))
        start += len(texts)
    return batches


def _rows(length: int, tokens_per_batch: int) -> int:
    rows = max(tokens_per_batch // length, 1)
    return rows - rows % 8 if rows >= 8 else rows
