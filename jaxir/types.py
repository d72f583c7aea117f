"""The words that every room of jaxir uses.

All of them are NamedTuples: pytrees for jax where they hold arrays, plain records where they hold
text. An absent field is ``None``. Names follow ir_datasets and ir-measures.

Shapes: b queries in a batch, n listed documents per query, l tokens, d dimensions, p known positives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax

Array = jax.Array
Params = Any
"""A pytree of arrays: nested dicts with readable paths."""

Side = Literal["query", "doc"]
Kind = Literal["dense", "sparse", "hybrid", "tokens", "losses", "scores"]


class Tokens(NamedTuple):
    """Token ids with the mask of real ones. Padding ids are arbitrary; only ``mask`` is read.

    ``packed`` saves an encoder the work on padding and changes no result. Group j of g is for the
    entries j, j + g, j + 2g, ... of the first axis, seen as n rows [n, l]: it lists row * l + column of
    each of their real tokens once; what is left over is n l. Groups are for micro-batches.
    """

    ids: Array  # [..., l] int32
    mask: Array  # [..., l] bool, True = real
    packed: Array | None = None  # [g, t] int32


class Batch(NamedTuple):
    """One training batch: b queries, each with its own list of n documents.

    Column 0 is a positive by convention, but ``labels`` is what losses read: 1 and 0, or grades.
    ``where`` is False on documents that only fill a ragged list. ``query_id`` and ``doc_id`` are row
    numbers in the prepared data set; equal ids mean the same text. ``known`` lists documents known to
    be relevant to the query (padded with -1), so that they are never used as its negatives. Where pairs
    are joined, ``docs`` are queries and documents together, and ``query`` is a slot of padding.
    """

    query: Tokens  # ids [b, lq]
    docs: Tokens  # ids [b, n, ld]
    labels: Array  # [b, n] float32
    where: Array  # [b, n] bool
    teacher: Array | None = None  # [b, n] float32; [b, n, t] of several teachers
    query_id: Array | None = None  # [b] int32
    doc_id: Array | None = None  # [b, n] int32
    known: Array | None = None  # [b, p] int32


class Reps(NamedTuple):
    """What an encoder returns; ``mask`` only for one vector per token (late interaction).

    ``values``: dense [..., d]; sparse [..., v], non-negative; tokens [..., t, d] with mask [..., t]; scores
    [..., 1], of a cross-encoder that reads joined pairs on the document side and is 1 on the query side.
    ``teacher``: what a frozen encoder gives for the same texts, where there is one.
    """

    values: Array
    mask: Array | None = None
    teacher: Array | None = None


class BatchReps(NamedTuple):
    """The encoded batch: what an objective sees of the model."""

    query: Reps  # values [b, d]
    docs: Reps  # values [b, n, d]


class Encoder(NamedTuple):
    """A text encoder as a pair of pure functions and three facts about its output.

    ``init(key) -> params``;
    ``encode(params, tokens, *, side="query"|"doc", layers=None, key=None) -> Reps``, for any leading
    axes of ``tokens``. ``key`` present means training (dropout on). ``layers=(2, 4)`` returns a tuple
    with one Reps per layer, through the same head.
    """

    init: Callable[[Array], Params]
    encode: Callable[..., Any]
    kind: Kind = "dense"
    dim: int = 0
    normalized: bool = False
    max_length: int | None = None  # longest input in tokens; None = any
    packs: bool = False  # whether it reads Tokens.packed
    layers: int = 0  # how many there are to choose from; 0 = none
    # Where a query is a bag of words: ``table(params) -> [v]``, the weight of each token that occurs.
    table: Callable[[Params], Array] | None = None
    # Of a hybrid: encoders of the same parameters that give a slice of its values each, for searching.
    parts: Mapping[str, Encoder] | None = None


class Doc(NamedTuple):
    doc_id: str
    title: str
    text: str


class Query(NamedTuple):
    query_id: str
    text: str


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int


class ScoredDoc(NamedTuple):
    query_id: str
    doc_id: str
    score: float


class Source(NamedTuple):
    """A collection: documents, and per split its queries and relevance judgements.

    ``docs`` is an iterable of :class:`Doc` that can be iterated again (streamed, never required to
    fit in memory); ``queries`` and ``qrels`` map a split name to a sequence. A split may be missing
    from either; ``name`` appears in logs and reports.
    """

    name: str
    docs: Any
    queries: Mapping[str, Sequence[Query]]
    qrels: Mapping[str, Sequence[Qrel]]
