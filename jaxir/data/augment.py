"""Changes to a batch's tokens while training: functions of (texts, rng), named by config.

c.data.augment = (dict(fn="jaxir.data.augment:crop_queries", p=0.5), ...)

The rng is that of the step, so that batch i is the same each time it is made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxir.checks import InputError
from jaxir.data.ragged import Ragged, gather


class TextBatch(NamedTuple):
    """The tokens of a global batch before special tokens, truncation and padding."""

    query: Ragged  # b texts
    docs: Ragged  # b * n texts; the positive of query i is text i * n
    query_prefix: int = 0  # tokens of the instruction that every query begins with
    doc_prefix: int = 0


def crop_queries(
    texts: TextBatch,
    rng: np.random.Generator,
    *,
    p: float = 0.5,
    min_tokens: int = 4,
    max_tokens: int = 16,
) -> TextBatch:
    """With probability p a query becomes a random piece of its positive document.

    The piece has between ``min_tokens`` and ``max_tokens`` tokens, or all of a shorter document; the
    query's instruction stays, the document's is never part of it. The inverse cloze task of Lee et
    al. 2019 (arXiv:1906.00300) as an augmentation.

    Raises:
      InputError: p outside [0, 1], or lengths that leave no choice.
    """
    _check_share(p)
    if not 1 <= min_tokens <= max_tokens:
        raise InputError(f"crop_queries needs 1 <= min_tokens <= max_tokens, got {min_tokens}, {max_tokens}")
    b = len(texts.query.lengths)
    n = len(texts.docs.lengths) // b
    starts = texts.docs.starts[::n] + texts.doc_prefix
    room = texts.docs.lengths[::n] - texts.doc_prefix
    lengths = np.minimum(rng.integers(min_tokens, max_tokens + 1, b), room)
    first = starts + (rng.random(b) * (room - lengths + 1)).astype(np.int64)
    chosen = (rng.random(b) < p) & (room > 0)

    # Each query in two pieces: its own beginning (the instruction alone where it is replaced), and the
    # piece of the document (nothing where it is not).
    kept = np.where(chosen, np.minimum(texts.query.lengths, texts.query_prefix), texts.query.lengths)
    taken = np.where(chosen, lengths, 0)
    both = np.concatenate([texts.query.flat, texts.docs.flat])
    begins = np.stack([texts.query.starts, first + len(texts.query.flat)], axis=1).ravel()
    flat, _ = gather(both, begins, np.stack([kept, taken], axis=1).ravel())
    return texts._replace(query=Ragged(flat, kept + taken))


def drop_tokens(texts: TextBatch, rng: np.random.Generator, *, p: float = 0.15) -> TextBatch:
    """Leaves out each token of each document with probability p; a text keeps at least its first.

    The document's instruction is never thinned.

    Raises:
      InputError: p outside [0, 1].
    """
    _check_share(p)
    starts, lengths = texts.docs.starts, texts.docs.lengths
    kept = rng.random(len(texts.docs.flat)) >= p
    for offset in range(texts.doc_prefix):
        kept[(starts + offset)[lengths > offset]] = True
    row = np.repeat(np.arange(len(lengths)), lengths)
    left = np.bincount(row[kept], minlength=len(lengths))
    emptied = (left <= np.minimum(texts.doc_prefix, lengths)) & (lengths > texts.doc_prefix)
    kept[(starts + texts.doc_prefix)[emptied]] = True
    left = np.bincount(row[kept], minlength=len(lengths))
    return texts._replace(docs=Ragged(texts.docs.flat[kept], left))


def _check_share(p: float) -> None:
    if not 0 <= p <= 1:
        raise InputError(f"p is {p}, a probability is between 0 and 1")
