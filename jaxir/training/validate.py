"""Retrieval on a sample of the dev split while training: small enough to run every few minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rax
import scipy.sparse
from jax.sharding import Mesh

from jaxir.checks import InputError
from jaxir.data.padding import pad
from jaxir.data.prepared import Prepared
from jaxir.data.tokenizer import Tokenizer
from jaxir.training.mesh import replicated, shard_whole
from jaxir.types import Encoder, Params

MEASURES = {
    "MRR@10": jax.jit(lambda s, y: rax.mrr_metric(s, jnp.minimum(y, 1), topn=10)),
    "nDCG@10": jax.jit(lambda s, y: rax.ndcg_metric(s, y, topn=10, gain_fn=lambda label: label)),
    "R@100": jax.jit(lambda s, y: rax.recall_metric(s, jnp.minimum(y, 1), topn=100)),
}
BATCH = 128


class Sample(NamedTuple):
    """Queries and documents by row, and how relevant each document is to each query."""

    queries: np.ndarray  # [q] int64
    docs: np.ndarray  # [d] int64
    labels: np.ndarray  # [q, d] float32


def dev_sample(prepared: Prepared, config: Mapping[str, Any]) -> Sample:
    """At most ``eval.queries`` queries of ``eval.split``, their relevant documents, and random others.

    Raises:
      InputError: the data set has no such split.
    """
    options = config["eval"]
    split = options["split"]
    if split not in prepared.qrels:
        raise InputError(
            f"eval.split is {split!r}, which {prepared.name} does not have; it has "
            f"{', '.join(prepared.qrels)}. Set eval.split, or eval.every=0 to do without"
        )
    rng = np.random.default_rng(0)  # the same sample whatever the run's seed: figures compare
    table = prepared.qrels[split]
    relevant = np.asarray(table.relevance) > 0
    every_query = np.unique(np.asarray(table.query_row)[relevant])
    queries = np.sort(rng.permutation(every_query)[: options["queries"]])
    chosen = relevant & np.isin(table.query_row, queries)
    docs = np.unique(np.asarray(table.doc_row)[chosen])
    others = np.setdiff1d(rng.permutation(len(prepared.docs))[: options["docs"]], docs)
    docs = np.sort(np.concatenate([docs, others[: max(options["docs"] - len(docs), 0)]]))
    labels = np.zeros((len(queries), len(docs)), np.float32)
    at = (
        np.searchsorted(queries, table.query_row[chosen]),
        np.searchsorted(docs, table.doc_row[chosen]),
    )
    labels[at] = table.relevance[chosen]
    return Sample(queries, docs, labels)


def make_validator(
    prepared: Prepared,
    encoder: Encoder,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    mesh: Mesh | None = None,
) -> Callable[[Params], dict[str, float]]:
    """``validate(encoder_params) -> {"MRR@10": ..., "nDCG@10": ..., "R@100": ...}``.

    At most ``eval.queries`` queries of ``eval.split`` against their relevant documents and random
    others up to ``eval.docs`` in all: a smaller corpus than the real one, so the figures are higher
    than a full evaluation's. nDCG's gains are linear, as trec_eval's.

    With a ``mesh`` its devices encode together, the parameters lying as they do in training, and every
    process gets the same figures.

    Raises:
      InputError: the data set has no such split.
    """
    split = config["eval"]["split"]
    queries, docs, labels = dev_sample(prepared, config)
    rows = BATCH if mesh is None else -(-BATCH // mesh.size) * mesh.size

    def tokens(side: str, texts: list[str]) -> list[Any]:
        ids = tokenizer.encode_batch(
            [config["prefixes"][side] + t for t in texts], max_length=config["max_length"][side]
        )
        # One length for all: one compilation a side, and a dev sample is small.
        length = max(len(i) for i in ids)
        ids += [ids[0]] * (-len(ids) % rows)
        whole = pad(ids, ladder=tuple(config["ladder"]), length=None) if length else pad(ids, length=1)
        return [jax.tree.map(lambda x, i=i: x[i : i + rows], whole) for i in range(0, len(ids), rows)]

    with_title = config["data"]["doc_text"] != "text"
    found = prepared.docs.rows([int(r) for r in docs])
    doc_texts = [f"{d.title} {d.text}" if with_title else d.text for d in found]
    batches = {
        "query": tokens("query", [prepared.queries[split][int(r)].text for r in queries]),
        "doc": tokens("doc", doc_texts),
    }
    encode = jax.jit(
        lambda params, batch, side: encoder.encode(params, batch, side=side).values,
        static_argnums=2,
        out_shardings=None if mesh is None else replicated(mesh),
    )
    place = (lambda batch: batch) if mesh is None else (lambda batch: shard_whole(batch, mesh))

    def validate(params: Params) -> dict[str, float]:
        def vectors(side: str, count: int) -> Any:
            parts = (np.asarray(encode(params, place(b), side), np.float32) for b in batches[side])
            if encoder.kind == "dense":
                return np.concatenate([*parts])[:count]
            # A vocabulary wide and nearly all zeros.
            return scipy.sparse.vstack([scipy.sparse.csr_array(x) for x in parts], format="csr")[:count]

        scores = vectors("query", len(queries)) @ vectors("doc", len(docs)).T
        scores = scores if encoder.kind == "dense" else scores.toarray()
        return {name: float(fn(scores, labels)) for name, fn in MEASURES.items()}

    return validate
