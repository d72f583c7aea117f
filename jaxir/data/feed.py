"""Data sets -> the stream of training batches: ``feed(...)[i]`` is a pure function of (seed, i)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxir.checks import InputError, check_known
from jaxir.config import bind
from jaxir.data.batches import Feed, Part, Side
from jaxir.data.examples import Documents, build_examples
from jaxir.data.mixture import Files, describe_files
from jaxir.data.padding import LADDER, step_of
from jaxir.data.pairs import Joiner
from jaxir.data.plan import Plan
from jaxir.data.prepared import Prepared
from jaxir.data.tokenizer import Tokenizer
from jaxir.data.tokens import TokenStore
from jaxir.files import fingerprint
from jaxir.types import Doc, Query


def feed(
    data: Prepared | Sequence[tuple[Prepared, float]],
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    seed: int = 0,
    split: str = "train",
    pairs: str | None = None,
    pair_suffix: str = "",
    listed: int = 0,
    listed_from: str = "negatives",
    negatives_file: Files | Sequence[Files | None] | None = None,
    one_per: str = "positive",
    prefixes: Mapping[str, str] | None = None,
    max_length: Mapping[str, int] | None = None,
    ladder: Sequence[int] = LADDER,
    doc_text: str = "text",
    augment: Sequence[Any] = (),
    same_source_batches: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    rows: Sequence[int] | np.ndarray | None = None,
    cache_bytes: int = 1 << 30,
    packed: int = 0,
) -> Feed:
    """The batches of one data set, or of several mixed in proportion to their weights.

    Args:
      data: a prepared data set, or (data set, weight) pairs.
      batch_size: queries in the global batch, over all processes.
      pairs: "documents" draws each document once per epoch, with an empty query, also those that no split
        knows; "joined", the judged pairs of the split, each listed document together with its query in
        :attr:`jaxir.types.Batch.docs` and nothing in ``query``, for cross-encoders (``max_length["doc"]`` is
        then the length of both together, of which the document alone is cut); None, the judged pairs.
      pair_suffix: text behind each joined pair.
      listed, listed_from, negatives_file, one_per: documents beside the positive, and which positives, see
        :func:`jaxir.data.examples.build_examples`; with several data sets a list with the file or files of
        each, or None.
      prefixes: {"query": ..., "doc": ...}, instructions put before the text.
      max_length: {"query": 64, "doc": 256}, tokens, special ones included; longer texts are cut.
      ladder: the padded lengths; a batch gets the smallest that holds its longest text.
      doc_text: "text", or "title+text" joined by a space.
      augment: changes to the tokens, in order: functions of (:class:`TextBatch`, rng), or config dicts
        that name them (see :mod:`jaxir.data.augment`).
      same_source_batches: every batch from one data set, for losses that compare documents of a batch.
      process_index, process_count: this process's place; it gets its share of every global batch:
      rows: these rows of it, in ascending order; None = its contiguous part.
      cache_bytes: memory for token ids, per data set and side.
      packed: 1 (or the number of micro-batches) adds :attr:`jaxir.types.Tokens.packed`, with which a
        transformer does not compute padding; for one process and one device.

    Raises:
      InputError: what of these does not fit the data.
    """
    parts_of = [(data, 1.0)] if isinstance(data, Prepared) else list(data)
    if not parts_of:
        raise InputError("a feed needs at least one data set")
    if not 0 <= process_index < process_count or batch_size % process_count:
        raise InputError(
            f"batch_size {batch_size} does not divide among {process_count} processes (this is number "
            f"{process_index}, counted from 0): make it a multiple of {process_count}"
        )
    if packed and (process_count > 1 or packed < 0 or batch_size % packed):
        raise InputError(
            f"packed={packed} splits batch_size {batch_size} over {process_count} processes: it needs one "
            "process and a number that divides the batch; packed=0 pads"
        )
    step_of(1, ladder)  # checks it
    if pairs is not None:
        check_known("value of pairs", pairs, ("documents", "joined"))
        if pairs == "joined" and not listed:
            raise InputError(
                "pairs='joined' with listed=0 has one document for each query, and from one score alone "
                "nothing is learned: set data.listed to how many others to list"
            )
        if pairs == "documents" and (listed or negatives_file):
            raise InputError(
                "pairs='documents' has no queries to list documents for: set listed=0, and no negatives_file"
            )
    check_known("value of doc_text", doc_text, ("text", "title+text"))
    prefixes = {"query": "", "doc": "", **(prefixes or {})}
    max_length = {"query": 64, "doc": 256, **(max_length or {})}
    for given in (prefixes, max_length):
        for key in given:
            check_known("side", key, ("query", "doc"))
    if isinstance(negatives_file, (list, tuple)) and not isinstance(data, Prepared):
        files = list(negatives_file)
    else:
        files = [negatives_file] * len(parts_of)
    if len(files) != len(parts_of):
        raise InputError(f"{len(files)} negatives files for {len(parts_of)} data sets: name one for each")

    sides = {side: _side(tokenizer, prefixes[side], max_length[side], ladder) for side in prefixes}
    joiner = None
    if pairs == "joined":
        lengths = dict(query=max_length["query"], pair=max_length["doc"])
        joiner = Joiner(tokenizer, **lengths, suffix=pair_suffix)
    elif pair_suffix:
        raise InputError(f"pair_suffix={pair_suffix!r} is for pairs='joined': leave it out")
    changes = [bind(change) for change in augment]
    stores: dict[Any, tuple[TokenStore, int]] = {}
    used = {"query": 0, "doc": 0}

    def store(key: Any, side: str, records: Any, text: Callable[[Any], str]) -> tuple[TokenStore, int]:
        """One store and one range of numbers for each text collection, however often it is named."""
        if key not in stores:

            def encode(rows: list[int]) -> list[np.ndarray]:
                texts = [prefixes[side] + text(record) for record in records.rows(rows)]
                return [ids[: sides[side].room] for ids in tokenizer.encode_plain(texts)]

            room, vocab = sides[side].room, tokenizer.vocab_size
            made = TokenStore(encode, len(records), room, vocab, budget=cache_bytes)
            stores[key] = made, used[side]
            used[side] += len(records)
        return stores[key]

    parts = []
    for (prepared, _), file in zip(parts_of, files):
        name = prepared.fingerprint
        if pairs != "documents":
            examples = build_examples(
                prepared,
                split,
                listed=listed,
                listed_from=listed_from,
                negatives_file=file,
                one_per=one_per,
            )
            query, query_offset = store((name, "query"), "query", prepared.queries[split], _query_text)
        else:
            examples = Documents(len(prepared.docs))
            query, query_offset = store((name, "query"), "query", _Blank(len(prepared.docs)), _query_text)
        doc, doc_offset = store(
            (name, "doc"), "doc", prepared.docs, _doc_text if doc_text == "text" else _titled
        )
        parts.append(Part(examples, query, doc, query_offset, doc_offset))
    _check_lists(parts, listed)
    if max(used.values()) >= 1 << 31:
        raise InputError("the data sets have more than 2^31 documents together")
    weights = [float(weight) for _, weight in parts_of]
    share = batch_size // process_count
    if rows is None:
        rows = range(process_index * share, (process_index + 1) * share)
    return Feed(
        parts,
        Plan(
            [len(p.examples) for p in parts],
            weights,
            batch_size,
            seed,
            same_source=same_source_batches,
        ),
        (sides["query"], sides["doc"]),
        tokenizer,
        batch_size=batch_size,
        seed=seed,
        augment=changes,
        rows=np.asarray(rows),
        packed=packed,
        joiner=joiner,
        fingerprint=fingerprint(
            [p.fingerprint for p, _ in parts_of],
            [weights, batch_size, seed, split, listed, listed_from, doc_text, same_source_batches],
            [describe_files(f) for f in files],
            [prefixes, max_length, list(ladder), tokenizer.fingerprint],
            [_describe(change) for change in changes],
            *([] if pairs is None else [pairs]),
            *([pair_suffix] if pair_suffix else []),
            *([] if one_per == "positive" else [one_per]),
        ),
    )


class _Blank(Sequence[Query]):
    """Queries without a text, as many as there are documents."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: Any) -> Query:
        return Query("", "")

    def rows(self, rows: Sequence[int]) -> list[Query]:
        return [Query("", "")] * len(rows)


def _side(tokenizer: Tokenizer, prefix: str, max_length: int, ladder: Sequence[int]) -> Side:
    room = tokenizer.room(max_length)
    tokens = len(tokenizer.encode_plain([prefix])[0]) if prefix else 0
    if tokens >= room:
        raise InputError(f"max_length is {max_length} and the prefix {prefix!r} alone has {tokens} tokens")
    return Side(tokens, room, (*(s for s in ladder if s < max_length), max_length))


def _query_text(query: Query) -> str:
    return query.text


def _doc_text(doc: Doc) -> str:
    return doc.text


def _titled(doc: Doc) -> str:
    return f"{doc.title} {doc.text}" if doc.title else doc.text


def _check_lists(parts: Sequence[Part], listed: int) -> None:
    candidates = [p.examples.candidates for p in parts]
    if listed and not any(c is not None and len(c.doc_row) for c in candidates):
        raise InputError(
            f"listed={listed} asks for documents beside the positive, and there are none: the data has no "
            "judged non-relevant ones. Set listed=0, or name a negatives_file"
        )
    given = [p.examples.teacher for p in parts]
    if len({None if t is None else t.shape[1:] for t in given}) > 1:
        raise InputError(
            "negatives files with scores are needed for all data sets of a mix, or for none, and of the same "
            "number of teachers"
        )


def _describe(change: Any) -> Any:
    fn, keywords = getattr(change, "func", change), getattr(change, "keywords", {})
    return [f"{fn.__module__}:{fn.__qualname__}", keywords]
