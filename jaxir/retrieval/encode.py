"""Texts to vectors: a few queries in memory, or a whole collection to disk, restartable, in flat memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxir import processes
from jaxir.checks import InputError, check_known, check_positive
from jaxir.data.padding import pad
from jaxir.files import PathLike, fingerprint
from jaxir.retrieval import sparse_vectors, vectors
from jaxir.retrieval.batches import plan, suited
from jaxir.retrieval.encode_fn import BagOfWords, EncodeFn
from jaxir.retrieval.encode_fn import make_encode_fn as make_encode_fn
from jaxir.retrieval.ids import pack_ids
from jaxir.retrieval.parts import Parts
from jaxir.retrieval.sparse_vectors import SparseRows

TokenizeFn = Callable[[list[str]], list[np.ndarray]]
"""Texts -> int32 ids of each."""

DOC_TEXTS = ("text", "title+text")
TOKENIZE_AT_ONCE = 1024

SHARD_DOCS = {"dense": 16_384, "sparse": 4096}
"""Texts per shard. The rows of a sparse encoder that is not sparse yet have thousands of terms."""


def make_tokenize_fn(tokenizer: Any, *, prefix: str = "", max_length: int) -> TokenizeFn:
    """Token ids of texts with a prefix (an instruction) before each, at most ``max_length`` of them.

    The result counts what it cuts; :func:`encode_texts` and :func:`encode_corpus` warn of it at the end.
    """
    return _Tokenize(tokenizer, prefix, max_length)


class _Tokenize:
    def __init__(self, tokenizer: Any, prefix: str, max_length: int) -> None:
        self._tokenizer, self._prefix, self._max_length = tokenizer, prefix, max_length
        self._seen = self._cut = 0

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        prefixed = [self._prefix + text for text in texts]
        ids, cut = self._tokenizer.encode_counted(prefixed, max_length=self._max_length)
        self._seen += len(texts)
        self._cut += cut
        return ids

    def warn(self) -> None:
        """Says how many texts were cut since the last time, if any."""
        if self._cut:
            warnings.warn(
                f"{self._cut:,} of {self._seen:,} texts were longer than {self._max_length} tokens "
                "and were cut",
                stacklevel=3,
            )
        self._seen = self._cut = 0


def _warn_of_cuts(tokenize_fn: TokenizeFn) -> None:
    if isinstance(tokenize_fn, _Tokenize):
        tokenize_fn.warn()


def make_text_fn(doc_text: str = "text") -> Callable[[Any], str]:
    """What of a record is encoded: "text", or "title+text" for documents that have titles.

    Raises:
      InputError: another value.
    """
    check_known("doc_text", doc_text, DOC_TEXTS)
    if doc_text == "text":
        return lambda record: record.text
    return lambda record: f"{record.title} {record.text}"


def encode_texts(
    encode_fn: EncodeFn,
    texts: Sequence[str],
    tokenize_fn: TokenizeFn,
    *,
    max_length: int | None = None,
    tokens_per_batch: int | None = None,
    ladder: Sequence[int] | None = None,
    desc: str | None = None,
) -> np.ndarray | SparseRows:
    """The vectors [n, d] of texts that fit in memory (queries): float32, in the order of the texts.

    Those of a sparse encoder are sparse rows.

    Args:
      encode_fn: :func:`make_encode_fn`, or any function of Tokens.
      tokenize_fn: :func:`make_tokenize_fn`, or any function from texts to arrays of token ids.
      max_length: the encoder's longest input; shapes do not exceed it.
      tokens_per_batch: rows times padded length of a batch; default 16k on CPU, 2k there for
        transformers, 128k elsewhere.
      ladder: the padded lengths; default :func:`jaxir.retrieval.batches.suited`.
      desc: shows a progress bar of this name.

    Raises:
      InputError: no texts, or a vector that is not finite, or sparse and negative.
    """
    texts = list(texts)
    if not texts:
        raise InputError("there are no texts to encode")
    with _bar(desc, len(texts)) as count:
        values = encode_tokens(encode_fn, tokenize_fn(texts), max_length, tokens_per_batch, ladder, count)
    _check(values, lambda row: f"text {row} ({texts[row][:40]!r})")
    _warn_of_cuts(tokenize_fn)
    return values


def encode_corpus(
    encode_fn: EncodeFn,
    records: Any,
    out: PathLike,
    tokenize_fn: TokenizeFn,
    *,
    text_fn: Callable[[Any], str] | None = None,
    side: str = "doc",
    dtype: str = "float32",
    normalized: bool = False,
    model: str = "",
    source: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    max_length: int | None = None,
    shard_docs: int | None = None,
    tokens_per_batch: int | None = None,
    ladder: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **facts: Any,
) -> None:
    """Encodes a collection to a directory of vectors, dense or sparse as the encoder gives them.

    See :mod:`jaxir.retrieval.vectors` and :mod:`jaxir.retrieval.sparse_vectors`.

    It goes shard by shard: ``shard_docs`` records are read and tokenised while the shard before is
    encoded, sorted by length, encoded in few shapes, written in their own order. Memory depends on the
    shard, not on the collection. Until the end everything lies in ``.NAME.partial`` beside ``out``;
    killed and started again with the same arguments, it goes on after the last whole shard.

    Several processes (:mod:`jaxir.processes`) that call it together encode whole shards each, and process 0
    joins them (:mod:`jaxir.retrieval.parts`): the result is, byte for byte, what one of them alone writes.

    Args:
      records: has ``len`` and ``rows(list of int)`` -> records whose first field is the id.
      text_fn: record -> the text to encode; by default its ``text``.
      dtype: of the stored vectors, "float32" or "float16".
      normalized: whether the encoder's vectors have length 1; for the manifest.
      model: the model's fingerprint. With ``source`` and ``settings`` it says whether a partial result
        may be continued: a different one starts over.
      source: {"name", "fingerprint", "path"} of the data set.
      settings: how records become tokens (prefix, max_length, doc_text, ...), anything JSON can write.
      max_length, tokens_per_batch, ladder: as for :func:`encode_texts`.
      shard_docs: default 16,384, for a sparse encoder 4096.
      facts: anything else for the manifest.

    Raises:
      InputError: an empty collection, repeated ids, ``out`` exists, or a vector that is not
        finite, or sparse and negative.
    """
    check_known("dtype", dtype, vectors.DTYPES)
    shard_docs = SHARD_DOCS[getattr(encode_fn, "kind", "dense")] if shard_docs is None else shard_docs
    check_positive("shard_docs", shard_docs)
    out, n = pathlib.Path(out), len(records)
    if not n:
        raise InputError("the collection is empty: there is nothing to encode")
    exists = processes.is_first() and out.exists()  # a shared disk may show the others an older state
    if exists and not overwrite and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out} exists already; choose another directory or add --overwrite")
    text_fn = text_fn or make_text_fn()
    name = (source or {}).get("fingerprint"), (source or {}).get("name")
    made_of = dict(model=model, source=name, settings=settings, side=side, dtype=dtype, shard_docs=shard_docs)
    processes.check_same("what they encode", {**made_of, "records": n})
    parts = Parts(out, key=fingerprint(*made_of.values()), n=n, shard_docs=shard_docs, dtype=dtype)

    def read(rows: slice) -> tuple[slice, np.ndarray, list[np.ndarray]]:
        ids: list[str] = []
        tokens: list[np.ndarray] = []
        # In small parts: a tokenizer's own result takes some hundred bytes per token.
        for part in vectors.row_blocks(rows.stop - rows.start, TOKENIZE_AT_ONCE):
            some = records.rows(list(range(rows.start + part.start, rows.start + part.stop)))
            ids += (record[0] for record in some)
            tokens += tokenize_fn([text_fn(record) for record in some])
        return rows, pack_ids(ids), tokens

    with _bar("encode" if progress and processes.is_first() else None, parts.size, parts.done) as count:
        for rows, ids, texts in _ahead(read, parts.todo()):
            values = encode_tokens(encode_fn, texts, max_length, tokens_per_batch, ladder, count)
            with np.errstate(over="ignore"):  # infinity is reported below
                sparse = isinstance(values, SparseRows)
                values = sparse_vectors.rounded(values, dtype) if sparse else values.astype(dtype)
            _check(values, lambda row, ids=ids: f"record {ids[row].decode()!r} in {dtype}")
            parts.write(rows.start, values, ids)
    parts.finish(
        progress=progress,
        side=side,
        normalized=normalized,
        model=model,
        source=source,
        settings=settings,
        **facts,
    )
    _warn_of_cuts(tokenize_fn)


def encode_tokens(
    encode_fn: EncodeFn,
    texts: Sequence[np.ndarray],
    max_length: int | None,
    tokens_per_batch: int | None,
    ladder: Sequence[int] | None,
    count: Callable[[int, int], None],
) -> np.ndarray | SparseRows:
    """The vectors of tokenised texts, in their order; ``count(texts, tokens)`` is called after each batch."""
    if isinstance(encode_fn, BagOfWords):
        count(len(texts), sum(map(len, texts)))
        return encode_fn.rows(texts)
    sparse = getattr(encode_fn, "kind", "dense") == "sparse"
    suited_tokens, suited_ladder = getattr(encode_fn, "suited", suited(jax.default_backend()))
    tokens_per_batch = suited_tokens if tokens_per_batch is None else tokens_per_batch
    ladder = suited_ladder if ladder is None else ladder
    lengths = np.array([len(t) for t in texts])
    empty = np.zeros(0, np.int32)
    out: np.ndarray | None = None
    parts: list[SparseRows] = []
    places: list[np.ndarray] = []
    running: tuple[np.ndarray, Any] | None = None

    def collect() -> None:
        nonlocal out
        rows, values = running
        values = np.asarray(values)[: len(rows)].astype(np.float32, copy=False)
        if sparse:
            parts.append(sparse_vectors.from_dense(values))
            places.append(rows)
        else:
            out = np.empty((len(texts), values.shape[1]), np.float32) if out is None else out
            out[rows] = values
        count(len(rows), int(lengths[rows].sum()))

    for rows, length, size in plan(
        lengths, tokens_per_batch=tokens_per_batch, ladder=ladder, max_length=max_length
    ):
        batch = [texts[row] for row in rows] + [empty] * (size - len(rows))
        values = encode_fn(pad(batch, length))
        if running:  # one batch late, so that the device has the next one while this one is copied
            collect()
        running = (rows, values)
    collect()
    return sparse_vectors.in_order(parts, places) if sparse else out


def _ahead(read: Callable[[Any], Any], todo: Iterator[Any]) -> Iterator[Any]:
    """``map(read, todo)`` with the next one read in a thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        upcoming = None
        for item in todo:
            ready, upcoming = upcoming, pool.submit(read, item)
            if ready is not None:
                yield ready.result()
        if upcoming is not None:
            yield upcoming.result()


@contextlib.contextmanager
def _bar(desc: str | None, total: int, done: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A progress bar as a function of (texts, tokens) just done."""
    start, tokens_done = time.monotonic(), 0
    with tqdm(
        total=total, initial=done, desc=desc, unit=" texts", disable=desc is None, mininterval=0.5
    ) as bar:

        def count(texts: int, tokens: int) -> None:
            nonlocal tokens_done
            tokens_done += tokens
            rate = tokens_done / max(time.monotonic() - start, 1e-9)
            bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
            bar.update(texts)

        yield count


def _check(values: np.ndarray | SparseRows, name: Callable[[int], str]) -> None:
    if isinstance(values, SparseRows):
        return sparse_vectors.check_weights(values, name)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        raise InputError(
            f"the vector of {name(int(wrong[0]))} has NaN or infinity ({len(wrong)} such vectors): the "
            "model is damaged, or its values need float32; jaxir doctor says more"
        )
