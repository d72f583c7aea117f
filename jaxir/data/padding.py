"""Texts of uneven length -> rectangles of a few static shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxir.checks import InputError
from jaxir.data.ragged import positions
from jaxir.types import Tokens

LADDER = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""The padded lengths that are used by default: XLA compiles one program for each."""


def step_of(longest: int, ladder: Sequence[int] = LADDER) -> int:
    """The smallest step of the ladder that holds ``longest`` tokens.

    Beyond the ladder it is the next multiple of the last step, so that shapes stay few.

    >>> step_of(17), step_of(0), step_of(513)
    (32, 16, 1024)
    """
    if not ladder or min(ladder) < 1:
        raise InputError(f"the ladder of padded lengths is {tuple(ladder)}, it needs positive steps")
    last = max(ladder)
    return min((s for s in ladder if s >= longest), default=-(-longest // last) * last)


def pad(
    texts: Sequence[np.ndarray],
    length: int | None = None,
    ladder: Sequence[int] = LADDER,
    *,
    pad_id: int = 0,
) -> Tokens:
    """Token arrays -> ``Tokens(ids [n, l] int32, mask [n, l] bool)`` of numpy arrays.

    l is ``length``, which cuts longer texts, or the ladder's step that holds the longest text.

    >>> pad([np.array([7, 8]), np.array([9])], length=3).ids
    array([[7, 8, 0],
           [9, 0, 0]], dtype=int32)
    """
    lengths = np.fromiter((len(t) for t in texts), np.int64, len(texts))
    flat = np.concatenate([*texts, np.zeros(0, np.int32)])
    return pad_flat(flat, lengths, length, ladder, pad_id=pad_id)


def pad_flat(
    flat: np.ndarray,
    lengths: np.ndarray,
    length: int | None = None,
    ladder: Sequence[int] = LADDER,
    *,
    pad_id: int = 0,
) -> Tokens:
    """:func:`pad` for texts that lie one after another in ``flat``."""
    if length is None:
        length = step_of(int(lengths.max(initial=0)), ladder)
    mask = np.arange(length) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, np.int32)
    if lengths.max(initial=0) > length:
        starts = np.cumsum(lengths) - lengths
        flat = flat[np.arange(len(flat)) - np.repeat(starts, lengths) < length]
    ids[mask] = flat
    return Tokens(ids, mask)


def packing(
    lengths: Int[np.ndarray, "b n"], length: int, groups: int = 1, *, step: int = 1
) -> Int[np.ndarray, "g t"]:
    """:attr:`jaxir.types.Tokens.packed` of texts padded on the right to ``length``.

    t is the multiple of ``step`` that holds the largest group, but no more than a group's positions.

    >>> packing(np.array([[2], [1]]), length=3, step=4)
    array([[0, 1, 3, 6]], dtype=int32)
    """
    b, n = lengths.shape
    rows = b // groups * n
    split = lengths.reshape(-1, groups, n).swapaxes(0, 1).reshape(groups, rows)
    most = int(split.sum(axis=1).max(initial=1))
    packed = np.full((groups, min(-(-most // step) * step, rows * length)), rows * length, np.int32)
    for row, group in zip(packed, split):
        at = positions(np.arange(rows) * length, group)
        row[: len(at)] = at
    return packed
