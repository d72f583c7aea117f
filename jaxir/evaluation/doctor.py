"""``jaxir doctor``: gathers what the checks need from a model, a data set and an index.

The checks themselves are pure functions in :mod:`jaxir.evaluation.vector_checks` and
:mod:`jaxir.evaluation.text_checks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy.sparse import csr_array

from jaxir.data.padding import pad, step_of
from jaxir.data.prepared import Prepared, qrels_by_id
from jaxir.data.tokenizer import Tokenizer
from jaxir.data.vocabulary import special_ids
from jaxir.evaluation import sparse_checks, text_checks, vector_checks
from jaxir.evaluation.explain import label
from jaxir.evaluation.finding import Finding
from jaxir.retrieval.encode import make_encode_fn
from jaxir.retrieval.exact import search_numpy
from jaxir.retrieval.index import Index
from jaxir.training.checkpoint import Model
from jaxir.types import Doc, Params, Side

SAMPLE = 256
"""Texts of each side that are looked at."""

LOOKED_AT = 512
"""Tokens of a text: one shape is compiled, and a published decoder may allow 131,072 of them."""

ROWS = 64
"""Texts per batch."""


Encode = Callable[[Sequence[str], Side], np.ndarray]


def make_encode(model: Model) -> Encode:
    """``encode(texts, side) -> [n, d]`` for a few texts, with the model's prefix and length.

    Unlike the library's own, it lets NaN pass: finding it is the point. One shape per side.
    """
    fns = {side: make_encode_fn(model.encoder, model.params, side=side) for side in ("query", "doc")}

    def encode(texts: Sequence[str], side: Side) -> np.ndarray:
        limit = min(model.config["max_length"][side], LOOKED_AT)
        prefix = model.config["prefixes"][side]
        ids = model.tokenizer.encode_batch([prefix + t for t in texts], max_length=limit)
        longest = step_of(limit, tuple(model.config["ladder"]))
        longest = min(longest, model.encoder.max_length or longest)
        ids += [np.zeros(0, np.int32)] * (-len(ids) % ROWS)
        parts = [fns[side](pad(ids[i : i + ROWS], longest)) for i in range(0, len(ids), ROWS)]
        return np.concatenate([np.asarray(part, np.float32) for part in parts])[: len(texts)]

    return encode


def check_model(
    model: Model, docs: Sequence[str], queries: Sequence[str], *, encode: Encode | None = None
) -> list[Finding]:
    """Tokens, embeddings and behaviour of an encoder on texts of each side (without prefixes).

    Of a hybrid each part is looked at by itself.
    """
    if model.encoder.kind == "hybrid":
        return [
            finding._replace(check=f"{name}: {finding.check}")
            for name, part in parts_of(model).items()
            for finding in check_model(part, docs, queries)
        ]
    tokenizer, config, encode = model.tokenizer, model.config, encode or make_encode(model)
    found = []
    rows = embedding_rows(model.params)
    if rows is not None:
        found += text_checks.vocabulary(tokenizer.vocab_size, rows)
        if found[-1].level == "fail":  # it cannot encode, or would encode nonsense
            return found
    texts = {"doc": list(docs), "query": list(queries)}
    ids = {side: tokenizer.encode_plain(texts[side]) for side in texts}
    found += text_checks.unknown_tokens([*ids["doc"], *ids["query"]], unknown_id(tokenizer))
    for side, what in (("doc", "documents"), ("query", "queries")):
        prefix = len(tokenizer.encode_plain([config["prefixes"][side]])[0])
        room = max(1, tokenizer.room(config["max_length"][side]) - prefix)
        found += text_checks.truncation([len(i) for i in ids[side]], room, what)
    metric = "cosine" if model.encoder.normalized else "dot"
    vectors = {side: encode(texts[side], side) for side in texts}
    sparse = model.encoder.kind == "sparse"
    for side, what in (("doc", "documents"), ("query", "queries")):
        if sparse:
            occurring = np.unique(np.concatenate([np.zeros(0, np.int64), *ids[side]])).astype(np.int64)
            found += check_sparse(vectors[side], what=what, tokenizer=tokenizer, occurring=occurring)
        else:
            found += check_vectors(
                vectors[side], what=what, normalized=model.encoder.normalized, metric=metric
            )
    found += vector_checks.padding(*alone_and_padded(model, texts["doc"]))
    if all(np.isfinite(v).all() for v in vectors.values()):
        found += vector_checks.self_retrieval(
            lambda q, k: search_numpy(q, min(k, len(vectors["doc"])), vectors=vectors["doc"]),
            encode(texts["doc"], "query"),
            np.arange(len(texts["doc"])),
            what="documents as queries",
            # A query's length cuts them; the longest sparse document may rightly beat a document on itself.
            least=0.1 if sparse else 0.5,
            good=0.5 if sparse else 0.9,
        )
    return found


def parts_of(model: Model) -> dict[str, Model]:
    """The parts of a hybrid as models with the same parameters; empty of any other."""
    parts = model.encoder.parts or {}
    return {name: model._replace(encoder=encoder) for name, encoder in parts.items()}


def check_vectors(vectors: np.ndarray, *, what: str, normalized: bool, metric: str) -> list[Finding]:
    """Everything that vectors alone can tell; the later checks need finite ones."""
    found = vector_checks.finite(vectors, what)
    if not np.isfinite(vectors).all() or len(vectors) < 2:
        return found
    return [
        *found,
        *vector_checks.collapse(vectors, what),
        *vector_checks.dimensions(vectors, what),
        *vector_checks.normalisation(vectors, normalized=normalized, metric=metric, what=what),
    ]


def check_sparse(
    values: np.ndarray | csr_array,
    *,
    what: str,
    tokenizer: Tokenizer | None = None,
    occurring: np.ndarray | None = None,
) -> list[Finding]:
    """Everything that sparse representations alone can tell; the later checks need finite ones.

    Args:
      values: [n, v], dense or sparse rows.
      tokenizer: names terms, and says which are special tokens.
      occurring: the tokens that occur in the texts.
    """
    rows = csr_array(values)
    found = sparse_checks.numbers(rows, what)
    if found[0].level == "fail" or rows.shape[0] < 2:
        return found
    name = str if tokenizer is None else lambda j: label(tokenizer, j)
    queries = what == "queries"  # few terms are right there, and what does not occur in them is not missed
    return [
        *found,
        *sparse_checks.active_terms(rows, what),
        *([] if queries else sparse_checks.sinks(rows, name, what)),
        *([] if queries else sparse_checks.dead_vocabulary(rows, occurring, what)),
        *([] if tokenizer is None else sparse_checks.special_terms(rows, special_ids(tokenizer), name, what)),
    ]


def check_data(prepared: Prepared, *, measures: Sequence[str], pairs: int = 20_000) -> list[Finding]:
    """The judgements of every split: what they name exists, and the perfect run scores 1."""
    found = []
    dropped = prepared.counts.get("dropped_qrels", 0)
    if dropped:
        text = f"{dropped} judgements were left out because they name unknown queries or documents"
        advice = "use the corpus and the queries that belong to the qrels"
        found.append(Finding("warn", "qrels", text, advice))
    for split in prepared.qrels:
        table = prepared.qrels[split]
        rows = np.unique(table.doc_row)[:pairs]
        whole = len(rows) == len(np.unique(table.doc_row))
        docs = [doc.doc_id for doc in prepared.docs.rows(rows.tolist())]
        qrels = qrels_by_id(prepared, split)
        if not whole:
            known = set(docs)
            qrels = {
                q: kept
                for q, judged in qrels.items()
                if (kept := {d: g for d, g in judged.items() if d in known})
            }
        queries = [query.query_id for query in prepared.queries[split]]
        checked = text_checks.qrels_targets(qrels, queries, docs)
        checked += text_checks.oracle(qrels, measures, doc_ids=docs)
        found += [f._replace(check=f"{f.check} ({split})") for f in checked]
    return found


def check_index(
    index: Index,
    *,
    model: Model | None = None,
    encode: Encode | None = None,
    docs: Mapping[str, Doc] | None = None,
    doc_text: Callable[[Doc], str] = lambda doc: doc.text,
    queries: Sequence[str] = (),
    vectors: np.ndarray | None = None,
) -> list[Finding]:
    """An index by itself, against the model that should have made it, and against exact search.

    Args:
      index: the opened index.
      model: the model that will encode the queries.
      encode: its :func:`make_encode`, if that was made before.
      docs: some of the indexed documents by id, to be encoded again.
      doc_text: what of a document is encoded.
      queries: texts for the recall of an approximate index.
      vectors: [n, d] the vectors that were indexed, if they are known.
    """
    rows = np.linspace(0, index.size - 1, min(SAMPLE, index.size)).astype(int)
    if model is not None and encode is None:
        encode = make_encode(model)
    found = []
    if model is not None:
        found += text_checks.fingerprints({"model": model.fingerprint, "index": index.manifest.get("model")})
        if model.encoder.dim and model.encoder.dim != index.dim:
            text = f"the model gives {model.encoder.dim} dimensions, the index holds {index.dim}"
            advice = "encode and index again with this model"
            return [*found, Finding("fail", "dimensions", text, advice)]
        how = index.manifest.get("settings") or {}
        if "prefix" in how:
            found += text_checks.prefixes(model.config["prefixes"], {"doc": how["prefix"]})
    if vectors is not None:
        sample = np.asarray(vectors[rows], np.float32)
        found += check_vectors(
            sample,
            what="stored vectors",
            normalized=bool(index.manifest.get("normalized")),
            metric="dot",
        )
        # Without normalisation a longer vector may rightly beat a document on itself.
        if np.isfinite(sample).all() and index.manifest.get("normalized"):
            found += vector_checks.self_retrieval(
                lambda q, k: index.search(q, min(k, index.size)), sample, rows
            )
        if index.kind != "exact":
            asked = encode(list(queries), "query") if encode and queries else sample
            k = min(100, index.size)
            _, exact = search_numpy(asked, k, vectors=vectors)
            found += vector_checks.recall_against_exact(index.search(asked, k)[1], exact)
    if encode is not None and docs and vectors is not None:
        at = {i: row for row, i in enumerate(index.ids.tolist())} if docs else {}
        known = [(at[i.encode()], doc) for i, doc in docs.items() if i.encode() in at]
        if len(known) < len(docs):
            text = f"{len(docs) - len(known)} of {len(docs)} documents of the source are not in it"
            advice = "encode and index the collection again"
            found.append(Finding("fail", "documents", text, advice))
        if known:
            fresh = encode([doc_text(doc) for _, doc in known], "doc")
            stored = np.asarray(vectors[[row for row, _ in known]], np.float32)
            found += vector_checks.agreement(stored, fresh)
    return found


def alone_and_padded(model: Model, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A text of middle length: its vector [1, d] without any padding, and from a padded batch."""
    limit = min(model.config["max_length"]["doc"], LOOKED_AT)
    ids = [i for i in model.tokenizer.encode_batch(list(texts), max_length=limit) if len(i)]
    ids = sorted(ids, key=len)[:: max(1, len(ids) // 2)][:3]  # short, middle, long
    one = ids[len(ids) // 2]
    longest = 2 * len(ids[-1])
    longest = min(longest, model.encoder.max_length or longest)
    fn = make_encode_fn(model.encoder, model.params, side="doc")
    alone = np.asarray(fn(pad([one], len(one))), np.float32)
    padded = np.asarray(fn(pad([one, *ids], longest)), np.float32)
    return alone, padded[:1]


def embedding_rows(params: Params) -> int | None:
    """Rows of the token embedding, the fewest where there are several towers; None if unknown."""
    rows = [
        leaf.shape[0]
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if re.search(
            r"(^|/)(token_embedding/)?embedding$",
            jax.tree_util.keystr(path, simple=True, separator="/"),
        )
        and not re.search("position|type", jax.tree_util.keystr(path))
    ]
    return min(rows, default=None)


def unknown_id(tokenizer: Any) -> int | None:
    """The id of the token for unknown text, if the tokenizer has one."""
    for token in ("[UNK]", "<unk>", "<|unk|>"):
        found = tokenizer.backend.token_to_id(token)
        if found is not None:
            return int(found)
    return None
