"""Examples -> padded batches of numpy arrays, the same global batch for any number of processes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from jaxir.data.augment import TextBatch
from jaxir.data.examples import Documents, Examples
from jaxir.data.padding import packing, pad_flat, step_of
from jaxir.data.pairs import Joiner
from jaxir.data.plan import Plan
from jaxir.data.ragged import Ragged
from jaxir.data.tokenizer import Tokenizer
from jaxir.data.tokens import TokenStore
from jaxir.types import Batch, Tokens

Augment = Callable[[TextBatch, np.random.Generator], TextBatch]

KNOWN = 32
"""At most so many known positives of a query go into a batch, those that the batch holds first."""

PACKED_STEPS = 8
"""Packed batches are filled up to a power of two that is at most this part of their tokens."""


class Part(NamedTuple):
    """One data set of a feed. The offsets keep row numbers of different data sets apart."""

    examples: Examples | Documents
    query: TokenStore
    doc: TokenStore
    query_offset: int
    doc_offset: int


class Side(NamedTuple):
    """How one side's texts become rectangles."""

    prefix: int  # tokens of the instruction
    room: int  # tokens of a text, instruction included and special tokens not
    ladder: tuple[int, ...]


class Feed(Sequence[Batch]):
    """``feed[i]`` is the batch of step i, numpy arrays; ``feed.iterate(start)`` yields from step start.

    The batch has ``rows``: this process's share of a global batch that does not depend on the number of
    processes. Each process gathers the tokens of the whole global batch,
    because lengths are chosen for all of it.

    With ``packed`` groups, both sides' tokens say where their real ones are, for encoders that need not
    compute padding. With a ``joiner`` each document stands together with its query, and the query's side
    holds one slot of padding.

    Attributes:
      epoch_steps: steps in which as many examples are drawn as there are.
      fingerprint: a short name for the stream; another name, other batches.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        plan: Plan,
        sides: tuple[Side, Side],
        tokenizer: Tokenizer,
        *,
        batch_size: int,
        seed: int,
        augment: Sequence[Augment],
        rows: np.ndarray,
        packed: int,
        fingerprint: str,
        joiner: Joiner | None = None,
    ) -> None:
        self._parts, self._plan, self._sides, self._tokenizer = parts, plan, sides, tokenizer
        self._seed, self._augment, self._packed = seed, augment, packed
        self._rows, self._joiner = rows, joiner
        self._width = min(KNOWN, max(p.examples.most_positives for p in parts))
        self.epoch_steps = math.ceil(sum(len(p.examples) for p in parts) / batch_size)
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        """Without end."""
        return sys.maxsize

    def __getitem__(self, step: Any) -> Batch:
        rng = np.random.default_rng((self._seed, step, 1))  # 1: apart from the plan's
        drawn = self._plan[step]
        pieces = []
        for source in np.unique(drawn.source):
            at = np.flatnonzero(drawn.source == source)
            pieces.append((at, *self._read(self._parts[source], drawn.number[at], rng)))
        batch, texts = _merge(pieces)
        for change in self._augment:
            texts = change(texts, rng)
        n = batch.labels.shape[1]
        listed = (self._rows[:, None] * n + np.arange(n)).ravel()
        if self._joiner is None:
            query = self._pad(self._whole(texts.query, self._sides[0]), self._sides[0], self._rows)
            docs = self._pad(self._whole(texts.docs, self._sides[1]), self._sides[1], listed)
        else:
            queries = texts.query.take(np.repeat(np.arange(len(texts.query.lengths)), n))
            docs = self._pad(self._joiner(queries, texts.docs), self._sides[1], listed)
            one = (len(self._rows), 1)
            query = Tokens(np.full(one, self._tokenizer.pad_id, np.int32), np.zeros(one, bool))
        docs = Tokens(*(x.reshape(len(self._rows), n, -1) for x in docs[:2]))
        if self._packed:
            query, docs = self._pack(query, docs)
        mine = Batch(*(None if field is None else field[self._rows] for field in batch))
        return mine._replace(query=query, docs=docs)

    def iterate(self, start: int = 0, *, threads: int = 2, buffer: int = 8) -> Iterator[Batch]:
        """The batches from step ``start`` on, without end, prepared ahead by threads, in order."""
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
        iterator = iter(grain.MapDataset.source(self).to_iter_dataset(options))
        iterator.set_state({"next_index": start})
        return iterator

    def _read(self, part: Part, numbers: np.ndarray, rng: np.random.Generator) -> tuple[Batch, TextBatch]:
        """The examples of one data set; ``query`` and ``docs`` of the batch are not filled yet."""
        listing = part.examples.take(numbers, rng)
        known = part.examples.known(listing.query_row, listing.doc_row, self._width)
        batch = Batch(
            query=None,  # type: ignore[arg-type]
            docs=None,  # type: ignore[arg-type]
            labels=listing.labels,
            where=listing.where,
            teacher=listing.teacher,
            query_id=(listing.query_row + part.query_offset).astype(np.int32),
            doc_id=np.where(listing.where, listing.doc_row + part.doc_offset, -1).astype(np.int32),
            known=np.where(known >= 0, known + part.doc_offset, -1).astype(np.int32),
        )
        texts = TextBatch(
            part.query.take(listing.query_row),
            part.doc.take(listing.doc_row.ravel()),
            self._sides[0].prefix,
            self._sides[1].prefix,
        )
        return batch, texts

    def _whole(self, texts: Ragged, side: Side) -> Ragged:
        return texts.cut(side.room).surround(self._tokenizer.head, self._tokenizer.tail)

    def _pad(self, whole: Ragged, side: Side, rows: np.ndarray) -> Tokens:
        length = step_of(int(whole.lengths.max(initial=0)), side.ladder)  # of the global batch
        mine = whole if len(rows) == len(whole.lengths) else whole.take(rows)
        return pad_flat(mine.flat, mine.lengths, length, pad_id=self._tokenizer.pad_id)

    def _pack(self, query: Tokens, docs: Tokens) -> tuple[Tokens, Tokens]:
        lengths = [t.mask.sum(-1).reshape(len(self._rows), -1) for t in (query, docs)]
        # The sums of lengths vary little from batch to batch; every step of them is a program to compile.
        total = sum(int(x.sum()) for x in lengths) // self._packed
        step = 1 << max(total // PACKED_STEPS, 1).bit_length() - 1
        packed = tuple(
            tokens._replace(packed=packing(x, tokens.mask.shape[-1], self._packed, step=step))
            for tokens, x in zip((query, docs), lengths)
        )
        return packed if self._joiner is None else (query, packed[1])


def _merge(pieces: list[tuple[np.ndarray, Batch, TextBatch]]) -> tuple[Batch, TextBatch]:
    """The examples of several data sets in the order of the plan."""
    if len(pieces) == 1:
        return pieces[0][1:]
    order = np.argsort(np.concatenate([at for at, _, _ in pieces]))
    batches, texts = [p[1] for p in pieces], [p[2] for p in pieces]
    batch = Batch(*(None if f[0] is None else np.concatenate(f)[order] for f in zip(*batches)))
    n = batch.labels.shape[1]
    doc_order = (order[:, None] * n + np.arange(n)).ravel()

    def joined(parts: list[Ragged], rows: np.ndarray) -> Ragged:
        return Ragged(*(np.concatenate(column) for column in zip(*parts))).take(rows)

    return batch, texts[0]._replace(
        query=joined([t.query for t in texts], order),
        docs=joined([t.docs for t in texts], doc_order),
    )
