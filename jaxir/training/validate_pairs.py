"""Re-ranking on a sample of the dev split while training: what a cross-encoder is measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jax.sharding import Mesh

from jaxir.checks import InputError
from jaxir.data.padding import pad_flat
from jaxir.data.pairs import Joiner
from jaxir.data.prepared import Prepared
from jaxir.data.ragged import Ragged
from jaxir.data.tokenizer import Tokenizer
from jaxir.training.mesh import replicated, shard_whole
from jaxir.training.validate import MEASURES as ALL
from jaxir.training.validate import dev_sample
from jaxir.types import Encoder, Params

LIST = 30
"""Documents of each query that are ranked; of more relevant ones than half of that the best."""

PAIRS = 64
"""Pairs that are scored at a time."""

MEASURES = {name: ALL[name] for name in ("MRR@10", "nDCG@10")}


def make_pair_validator(
    prepared: Prepared,
    encoder: Encoder,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    mesh: Mesh | None = None,
) -> Callable[[Params], dict[str, float]]:
    """``validate(encoder_params) -> {"MRR@10": ..., "nDCG@10": ...}`` of a cross-encoder.

    Each query of the sample (``eval.queries`` of ``eval.split``) has its relevant documents to rank, and up
    to :data:`LIST` in all those of the sample (``eval.docs``) that share most rare tokens with it.
    The figures are of these lists, whose relevant documents are always there: higher than after a search.

    Raises:
      InputError: the data set has no such split, or ``eval.measure`` is another one.
    """
    if config["eval"]["measure"] not in MEASURES:
        raise InputError(
            f"eval.measure is {config['eval']['measure']!r}, and lists are re-ranked here: it is one of "
            f"{', '.join(MEASURES)}"
        )
    sample = dev_sample(prepared, config)
    with_title = config["data"]["doc_text"] != "text"
    records = prepared.docs.rows([int(r) for r in sample.docs])
    texts = {
        "query": [q.text for q in prepared.queries[config["eval"]["split"]].rows(sample.queries.tolist())],
        "doc": [f"{d.title} {d.text}" if with_title and d.title else d.text for d in records],
    }
    queries, docs = (
        Ragged.of(tokenizer.encode_plain([config["prefixes"][side] + t for t in found]))
        for side, found in texts.items()
    )
    chosen = _candidates(queries, docs, sample.labels, tokenizer.vocab_size)
    labels = np.take_along_axis(sample.labels, chosen, axis=1)
    longest = config["max_length"]
    suffix = config["data"].get("pair_suffix") or ""
    joined = Joiner(tokenizer, query=longest["query"], pair=longest["doc"], suffix=suffix)(
        queries.take(np.repeat(np.arange(len(chosen)), chosen.shape[1])), docs.take(chosen.ravel())
    )
    order = np.argsort(-joined.lengths, kind="stable")
    rows = PAIRS if mesh is None else -(-PAIRS // mesh.size) * mesh.size
    order = np.append(order, np.repeat(order[-1:], -len(order) % rows))  # whole batches, by length
    steps = (*(s for s in config["ladder"] if s < longest["doc"]), longest["doc"])
    batches = []
    for i in range(0, len(order), rows):
        one = joined.take(order[i : i + rows])
        batches.append(pad_flat(one.flat, one.lengths, ladder=steps, pad_id=tokenizer.pad_id))
    score = jax.jit(
        lambda params, batch: encoder.encode(params, batch, side="doc").values[:, 0],
        out_shardings=None if mesh is None else replicated(mesh),
    )
    place = (lambda batch: batch) if mesh is None else (lambda batch: shard_whole(batch, mesh))

    def validate(params: Params) -> dict[str, float]:
        scores = np.empty(chosen.size, np.float32)
        for i, batch in enumerate(batches):
            scores[order[i * rows : (i + 1) * rows]] = np.asarray(score(params, place(batch)), np.float32)
        scores = scores.reshape(chosen.shape)
        return {name: float(fn(scores, labels)) for name, fn in MEASURES.items()}

    return validate


def _candidates(queries: Ragged, docs: Ragged, labels: np.ndarray, vocab_size: int) -> np.ndarray:
    """[q, n] numbers of documents: relevant ones up to half of a list, those with most tokens by idf."""
    bags = [_bags(texts, vocab_size) for texts in (queries, docs)]
    idf = np.log1p(len(docs.lengths) / (1 + bags[1].sum(axis=0)))
    overlap = np.asarray((bags[0].multiply(idf).tocsr() @ bags[1].T).todense())
    place = np.argsort(np.argsort(-labels, axis=1, kind="stable"), axis=1)  # by grade
    first, relevant = place < LIST // 2, labels > 0
    keys = np.where(relevant, np.where(first, np.inf, -np.inf), overlap)
    return np.argsort(-keys, axis=1, kind="stable")[:, :LIST]


def _bags(texts: Ragged, vocab_size: int) -> Any:
    rows = np.repeat(np.arange(len(texts.lengths)), texts.lengths)
    shape = (len(texts.lengths), vocab_size)
    bags = scipy.sparse.csr_array((np.ones(len(rows), np.float32), (rows, texts.flat)), shape=shape)
    bags.sum_duplicates()
    bags.data[:] = 1
    return bags
