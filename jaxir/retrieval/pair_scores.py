"""Scores of (query, document) pairs, by a cross-encoder or by the dot product of any encoder; restartable."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Int
from tqdm import tqdm

from jaxir.checks import InputError
from jaxir.data.pairs import Joiner
from jaxir.data.prepared import Prepared
from jaxir.data.ragged import Ragged
from jaxir.files import PathLike, fingerprint, read_json, write_json
from jaxir.retrieval import encode
from jaxir.retrieval.encode_fn import make_score_fn
from jaxir.retrieval.mining_origins import products
from jaxir.retrieval.model import encode_queries, make_doc_fn, settings
from jaxir.retrieval.vectors import save_array

SHARD_PAIRS = {"cpu": 512, "other": 1 << 14}
"""Pairs that a cross-encoder scores before they are written: sorted by length, they share batches."""

SHARD_DOCS = 4096
"""Documents that are encoded before their pairs' dot products are written."""

PRODUCTS = 1 << 15
"""Dot products that are taken at a time."""

Score = Callable[[np.ndarray, np.ndarray, Callable[[int, int], Any]], np.ndarray]
"""(query rows [m], document rows [m], count(pairs, tokens)) -> scores [m]."""


def score_pairs(
    model: Any,
    prepared: Prepared,
    split: str,
    query_row: Int[np.ndarray, " m"],
    doc_row: Int[np.ndarray, " m"],
    *,
    part: str | None = None,
    mesh: Mesh | None = None,
    out: PathLike | None = None,
    name: str = "scores",
    desc: str | None = "score",
) -> Float32[np.ndarray, " m"]:
    """The model's score of each pair, higher for better matches.

    A cross-encoder reads both texts together, in batches of pairs of similar length. Of any other encoder
    each text is encoded once, and the score is that of exact search.

    Args:
      query_row, doc_row: rows of the split's queries and of the documents.
      part: of a hybrid encoder, "dense" or "sparse".
      out: the file that the scores are for. What is done is kept beside it (:func:`forget` removes it), and a
        call for the same pairs by the same model goes on there. None = nothing is kept.
      name: tells the scores of several models for one file apart.
      desc: of the progress bar; None = none.

    Raises:
      InputError: no pairs, a score that is not finite, a part of what is no hybrid.
    """
    if not len(query_row):
        raise InputError("there are no pairs to score")
    cross = model.encoder.kind == "scores"
    if cross and part is not None:
        raise InputError(f"part {part!r} is of a hybrid; this is a cross-encoder: leave it out")
    asked, at = np.unique(query_row, return_inverse=True)
    texts = [query.text for query in prepared.queries[split].rows(asked.tolist())]
    order = np.arange(len(at)) if cross else np.argsort(doc_row, kind="stable")
    kept = None
    if out is not None:
        how = [settings(model, side, part) for side in ("query", "doc")]
        pairs = hashlib.blake2b(np.stack([query_row, doc_row]).astype(np.int64).tobytes()).hexdigest()
        key = fingerprint(model.fingerprint, prepared.fingerprint, split, how, pairs)
        kept = _Kept(_place(out, name), key)
    blocks = list(_blocks(doc_row[order], cross))
    values, left = np.empty(len(order), np.float32), []
    for block in blocks:
        found = None if kept is None else kept.read(block)
        if found is None:
            left.append(block)
        else:
            values[block] = found
    done = len(order) - sum(block.stop - block.start for block in left)
    with tqdm(
        total=len(order), initial=done, desc=desc, unit=" pairs", disable=desc is None, mininterval=0.5
    ) as bar:
        if left:
            make = _by_reading if cross else _by_products
            score = make(model, prepared, texts, part, mesh, desc)
            for block in left:
                mine = order[block]
                found = score(at[mine], doc_row[mine], lambda pairs, tokens: bar.update(pairs))
                _check(found, mine, texts, at)
                values[block] = found
                if kept is not None:
                    kept.write(block, found)
            if cross:
                score.warn()
    scores = np.empty(len(order), np.float32)
    scores[order] = values
    return scores


def forget(out: PathLike, name: str = "scores") -> None:
    """Removes what :func:`score_pairs` keeps beside ``out``."""
    shutil.rmtree(_place(out, name), ignore_errors=True)


def _place(out: PathLike, name: str) -> pathlib.Path:
    out = pathlib.Path(out)
    return out.with_name(f".{out.name}.partial.{name}")


class _Kept:
    """Scores of whole shards, a file for each; of another ``key`` they are dropped."""

    def __init__(self, path: pathlib.Path, key: str) -> None:
        self._path, facts = path, path / "scores.json"
        if not facts.is_file() or read_json(facts) != {"key": key}:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            write_json(facts, {"key": key})

    def read(self, block: slice) -> np.ndarray | None:
        file = self._file(block)
        return np.load(file, allow_pickle=False) if file.is_file() else None

    def write(self, block: slice, scores: np.ndarray) -> None:
        work = self._file(block).with_suffix(".tmp")
        save_array(work, scores)
        os.replace(work, self._file(block))  # a kill leaves no half of it

    def _file(self, block: slice) -> pathlib.Path:
        return self._path / f"{block.start:012}-{block.stop:012}.npy"


def _blocks(docs: np.ndarray, cross: bool) -> Iterator[slice]:
    """The shards: pairs by number, or all pairs of so many documents, which are sorted."""
    if cross:
        size = SHARD_PAIRS["cpu" if jax.default_backend() == "cpu" else "other"]
        starts = np.arange(0, len(docs), size)
    else:
        starts = np.flatnonzero(np.diff(docs, prepend=-1))[::SHARD_DOCS]
    for start, stop in zip(starts, [*starts[1:], len(docs)]):
        yield slice(int(start), int(stop))


class _Reader:
    """A cross-encoder's scores of pairs of texts."""

    def __init__(self, model: Any, prepared: Prepared, texts: list[str], mesh: Mesh | None) -> None:
        query, doc = settings(model, "query"), settings(model, "doc")
        lengths = dict(query=query["max_length"], pair=doc["max_length"])
        suffix = model.config["data"].get("pair_suffix") or ""
        self._joiner = Joiner(model.tokenizer, **lengths, suffix=suffix)
        self._docs, self._tokenizer, self._longest = prepared.docs, model.tokenizer, doc["max_length"]
        text = encode.make_text_fn(doc["doc_text"])
        self._text = lambda record: doc["prefix"] + text(record)
        self._queries = self._tokens([query["prefix"] + one for one in texts])
        self._score = make_score_fn(model.encoder, model.params, mesh=mesh)
        self._seen = self._cut = 0

    def __call__(
        self, query_at: np.ndarray, doc_row: np.ndarray, count: Callable[[int, int], Any]
    ) -> np.ndarray:
        needed, at = np.unique(doc_row, return_inverse=True)
        queries = self._queries.take(query_at)
        docs = self._tokens([self._text(doc) for doc in self._docs.rows(needed.tolist())]).take(at)
        self._seen += len(at)
        self._cut += int((docs.lengths > self._joiner.room(queries)).sum())
        pairs = self._joiner(queries, docs)
        rows = np.split(pairs.flat, np.cumsum(pairs.lengths)[:-1])
        return encode.encode_tokens(self._score, rows, self._longest, None, None, count)[:, 0]

    def _tokens(self, texts: list[str]) -> Ragged:
        found: list[np.ndarray] = []
        for i in range(0, len(texts), encode.TOKENIZE_AT_ONCE):
            some = self._tokenizer.encode_plain(texts[i : i + encode.TOKENIZE_AT_ONCE])
            found += [ids[: self._longest] for ids in some]
        return Ragged.of(found)

    def warn(self) -> None:
        """Says of how many pairs the document was cut."""
        if self._cut:
            warnings.warn(
                f"{self._cut:,} of {self._seen:,} pairs were longer than {self._longest} tokens, and their "
                "documents were cut",
                stacklevel=4,
            )


def _by_reading(
    model: Any, prepared: Prepared, texts: list[str], part: str | None, mesh: Mesh | None, desc: str | None
) -> _Reader:
    del part, desc
    return _Reader(model, prepared, texts, mesh)


def _by_products(
    model: Any, prepared: Prepared, texts: list[str], part: str | None, mesh: Mesh | None, desc: str | None
) -> Score:
    queries = encode_queries(model, texts, part=part, mesh=mesh, desc=desc and f"{desc}: queries")
    encode_docs = make_doc_fn(model, part=part)

    def score(query_at: np.ndarray, doc_row: np.ndarray, count: Callable[[int, int], Any]) -> np.ndarray:
        needed, at = np.unique(doc_row, return_inverse=True)
        docs = encode_docs(prepared.docs.rows(needed.tolist()))
        found = np.empty(len(at), np.float32)
        for i in range(0, len(at), PRODUCTS):
            some = slice(i, i + PRODUCTS)
            found[some] = products(queries, query_at[some], docs, at[some])
        count(len(at), 0)
        return found

    return score


def _check(scores: np.ndarray, mine: np.ndarray, texts: list[str], at: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        query = texts[at[mine[wrong[0]]]]
        raise InputError(
            f"{len(wrong)} scores are NaN or infinite, the first of them for the query {query[:40]!r}: the "
            "model is damaged, or its values need float32"
        )
