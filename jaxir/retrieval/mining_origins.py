"""Where the documents come from among which negatives are sought: an index, BM25 or a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array, issparse

from jaxir.checks import InputError
from jaxir.data.listed import Candidates
from jaxir.data.prepared import Prepared
from jaxir.files import checksum
from jaxir.retrieval import codes, find, runs
from jaxir.retrieval.bm25 import BM25
from jaxir.retrieval.dense_index import FUNNEL
from jaxir.retrieval.exact import Found
from jaxir.retrieval.funnel import narrow, unit
from jaxir.retrieval.ids import unpack_ids
from jaxir.retrieval.index import Index
from jaxir.retrieval.mining_data import arrays_of_run, doc_ids, rows_of
from jaxir.retrieval.model import make_doc_fn, make_query_fn


class Origin(NamedTuple):
    """Something that has searched, or can search, a data set for the queries of a split."""

    find: Callable[[np.ndarray], Found]  # query rows -> (scores [q, k], document rows [q, k]), best first
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]  # rows of m pairs -> [m] float32, NaN = unknown
    holds: np.ndarray | None  # [documents] bool, which it could find; None = all
    facts: Any  # what it is, as JSON: other facts, other negatives


def check_depth(depth: int, size: int, what: str) -> None:
    """Raises an InputError for a depth below 1 or above the number of documents."""
    if depth < 1:
        raise InputError(f"depth is {depth}, it must be at least 1")
    if depth > size:
        raise InputError(f"depth is {depth}, and {what} has {size:,} documents: give at most --depth={size}")


def of_index(index: Index, model: Any, prepared: Prepared, split: str, *, depth: int) -> Origin:
    """The first ``depth`` of an index for each query, encoded by the model that encoded the documents.

    Raises:
      InputError: a depth above the index, another model, or documents that the data set does not have.
    """
    check_depth(depth, index.size, f"the index {index.path}")
    model = find.at_its_size(index, model)
    find.check_same_model(index, model)
    settings = index.manifest.get("settings") or {}
    part = settings.get("part")
    encode = codes.through_autoencoder(settings, make_query_fn(model, part=part))
    encode_docs = codes.through_autoencoder(settings, make_doc_fn(model, part=part))
    rows = _prepared_rows(index, prepared)
    holds = None
    if rows is not None:
        holds = np.zeros(len(prepared.docs), bool)
        holds[rows] = True

    def texts(query_rows: np.ndarray) -> list[str]:
        return [query.text for query in prepared.queries[split].rows(query_rows.tolist())]

    def search(query_rows: np.ndarray) -> Found:
        scores, found = index.search(encode(texts(query_rows)), depth)
        return scores, found if rows is None else np.where(found >= 0, rows[np.maximum(found, 0)], found)

    def score(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        asked, query_at = np.unique(query_rows, return_inverse=True)
        needed, doc_at = np.unique(doc_rows, return_inverse=True)
        queries = _as_indexed(index, encode(texts(asked)))
        docs = _as_indexed(index, encode_docs(prepared.docs.rows(needed.tolist())))
        return products(queries, query_at, docs, doc_at)

    facts = ["index", index.kind, index.size, index.manifest.get("files"), model.fingerprint]
    return Origin(search, score, holds, facts)


def of_bm25(
    prepared: Prepared,
    split: str,
    *,
    depth: int,
    text_fn: Callable[[Any], str],
    language: str = "en",
    progress: bool = True,
) -> Origin:
    """The first ``depth`` of BM25 over the data set's documents.

    Raises:
      InputError: a depth above the number of documents, and what BM25 refuses.
    """
    check_depth(depth, len(prepared.docs), prepared.name)
    ids = list(doc_ids(prepared))
    bm25 = BM25((text_fn(doc) for doc in prepared.docs), ids, language=language, progress=progress)

    def texts(query_rows: np.ndarray) -> list[str]:
        return [query.text for query in prepared.queries[split].rows(query_rows.tolist())]

    def score(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        scores = np.empty(len(query_rows), np.float32)
        asked, at = np.unique(query_rows, return_inverse=True)
        for number, text in enumerate(texts(asked)):
            scores[at == number] = bm25.scores(text)[doc_rows[at == number]]
        return scores

    facts = ["bm25", language]
    return Origin(lambda query_rows: bm25.search(texts(query_rows), depth), score, None, facts)


def of_run(path: str, prepared: Prepared, split: str, relevant: Candidates, *, depth: int) -> Origin:
    """The first ``depth`` of each query in a TREC run; a positive's score is known where the run has it.

    Raises:
      InputError: no such file, a malformed one, or ids that the data set does not have.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}, it must be at least 1")
    run = runs.read(path)
    scores, rows, known = arrays_of_run(run, prepared, split, relevant, depth, name=os.fspath(path))
    pairs = relevant.owner * len(prepared.docs) + relevant.doc_row
    order = np.argsort(pairs, kind="stable")

    def score(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        wanted = query_rows * len(prepared.docs) + doc_rows
        at = order[np.minimum(np.searchsorted(pairs[order], wanted), len(pairs) - 1)]
        return np.where(pairs[at] == wanted, known[at], np.nan).astype(np.float32)

    return Origin(
        lambda query_rows: (scores[query_rows], rows[query_rows]), score, None, ["run", checksum(path)]
    )


def products(
    queries: Any, query_at: Int[np.ndarray, " m"], docs: Any, doc_at: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """The dot product of each of m pairs of rows, dense or sparse."""
    if issparse(queries):
        pairs = csr_array(queries)[query_at].multiply(csr_array(docs)[doc_at])
        return np.asarray(pairs.sum(axis=1), np.float32).reshape(-1)
    return np.einsum("nd,nd->n", queries[query_at], docs[doc_at]).astype(np.float32)


def _as_indexed(index: Index, values: Any) -> Any:
    """Vectors as the index compares them: at a funnel's second width, and normalised for "cosine"."""
    if index.metric == "cosine":
        values = unit(values)
    size = index.manifest.get(FUNNEL) if index.kind == FUNNEL else None
    return narrow(values, size["rerank_dims"], bool(index.manifest.get("normalized"))) if size else values


def _prepared_rows(index: Index, prepared: Prepared) -> np.ndarray | None:
    """The data set's row of each indexed document; None where they are the same."""
    source = index.manifest.get("source") or {}
    if source.get("fingerprint") == prepared.fingerprint and index.size == len(prepared.docs):
        return None
    return rows_of(prepared, unpack_ids(index.ids), f"the index {index.path}")
