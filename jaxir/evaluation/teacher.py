"""Scores of (query, document) pairs by any model: a teacher's, for a student to be trained on.

Each query gets its relevant documents and some candidates (BM25's, a run's, the first teacher's own). A
cross-encoder reads each pair; of any other teacher each document and query is encoded once.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32
from tqdm import tqdm

from jaxir.checks import InputError, check_known, check_positive
from jaxir.data.listed import judged, read_candidates
from jaxir.data.prepared import DOCS, Prepared
from jaxir.data.records import Records
from jaxir.evaluation import stages
from jaxir.files import PathLike
from jaxir.retrieval import encode, runs
from jaxir.retrieval.bm25 import BM25
from jaxir.retrieval.model import encode_queries, settings
from jaxir.retrieval.pair_scores import forget, score_pairs
from jaxir.retrieval.rerank import pairs_of as pairs_of_run
from jaxir.training.checkpoint import Model


class Pairs(NamedTuple):
    """m pairs, sorted by query; of each query its relevant documents first."""

    query_row: np.ndarray  # [m] int64
    doc_row: np.ndarray  # [m] int64
    relevant: np.ndarray  # [m] bool


def pairs_of(
    prepared: Prepared,
    split: str,
    query_row: np.ndarray,
    doc_row: np.ndarray,
    *,
    depth: int | None = None,
) -> Pairs:
    """Every relevant document, and the first ``depth`` others of each query that has relevant ones.

    Args:
      query_row, doc_row: [c] candidates, those of a query in rank order.

    Raises:
      InputError: the split has no relevant document.
    """
    check_known(f"split of {prepared.name}", split, prepared.qrels)
    table, queries, docs = prepared.qrels[split], len(prepared.queries[split]), len(prepared.docs)
    known = judged(table, table.relevance > 0, queries)
    if not len(known.doc_row):
        raise InputError(f"{prepared.name} has no relevant document in its split {split!r}")
    owner = np.repeat(np.arange(queries), np.diff(known.starts))
    taught = np.diff(known.starts) > 0
    new = taught[query_row] & ~np.isin(query_row * docs + doc_row, owner * docs + known.doc_row)
    query_row, doc_row = query_row[new], doc_row[new]
    order = np.argsort(query_row, kind="stable")
    query_row, doc_row = query_row[order], doc_row[order]
    if depth is not None:
        first = np.searchsorted(query_row, np.arange(queries))
        keep = np.arange(len(query_row)) - first[query_row] < depth
        query_row, doc_row = query_row[keep], doc_row[keep]
    all_queries = np.concatenate([owner, query_row])
    order = np.argsort(all_queries, kind="stable")  # the relevant ones stand before
    relevant = np.arange(len(all_queries)) < len(owner)
    return Pairs(all_queries[order], np.concatenate([known.doc_row, doc_row])[order], relevant[order])


def candidates(
    prepared: Prepared,
    split: str,
    origin: str,
    *,
    depth: int,
    first: Model,
    workdir: PathLike,
    part: str | None = None,
    language: str = "en",
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """(query rows [c], document rows [c]) to score beside the relevant ones, in rank order.

    Args:
      origin: "bm25"; "model", the first teacher's own search over the whole collection; a TREC run
        (``.trec``, ``.run``, ``.txt``), or a file of negatives (``.jsonl``), plain or .gz.
      depth: for a search, how many beside the relevant ones.
      first: the first teacher; BM25 reads what it reads of a document.
      workdir: where "model" keeps vectors and index.

    Raises:
      InputError: an unknown origin, or a file that names other queries or documents.
    """
    check_positive("depth", depth)
    check_known(f"split of {prepared.name}", split, prepared.qrels)
    if origin in ("bm25", "model"):
        test = stages.read_split(prepared, split)
        rows = np.unique(prepared.qrels[split].query_row)
        table = prepared.qrels[split]
        most = int(np.bincount(table.query_row[table.relevance > 0]).max(initial=0))
        k = min(depth + most, len(prepared.docs))
        if origin == "bm25":
            text = encode.make_text_fn(settings(first, part=part)["doc_text"])
            index = BM25(
                (text(doc) for doc in prepared.docs),
                _doc_ids(prepared, range(len(prepared.docs))),
                language=language,
                progress=progress,
            )
            found = _search(index.search, test.texts, k, progress)
        else:
            found = _own_search(first, prepared, test.texts, k, workdir, part, progress)
        real = found >= 0
        return np.repeat(rows, real.sum(axis=1)), found[real].astype(np.int64)
    path = pathlib.Path(origin)
    suffix = pathlib.Path(origin.removesuffix(".gz")).suffix
    if suffix == ".jsonl":
        listed = read_candidates(path, prepared, split)
        owner = np.repeat(np.arange(len(listed.starts) - 1), np.diff(listed.starts))
        return owner, listed.doc_row
    if suffix in (".trec", ".run", ".txt"):
        return pairs_of_run(runs.read(path), prepared, split, where=str(path))
    raise InputError(
        f"--candidates={origin} is neither bm25 nor model nor a file: a TREC run (.trec, .run, .txt) "
        "or a jsonl file of negatives"
    )


def _search(search: Callable[..., Any], texts: Sequence[str], k: int, progress: bool) -> np.ndarray:
    blocks = range(0, len(texts), 256)
    bar = tqdm(blocks, "search", unit=" x 256 queries", disable=not progress, mininterval=0.5)
    return np.concatenate([search(texts[i : i + 256], k)[1] for i in bar])


def _own_search(
    model: Model,
    prepared: Prepared,
    texts: list[str],
    k: int,
    workdir: PathLike,
    part: str | None,
    progress: bool,
) -> np.ndarray:
    if model.encoder.kind == "scores":
        raise InputError(
            "--candidates=model: a cross-encoder cannot search a collection; take bm25 or a run, or name "
            "another --model first"
        )
    if part is not None:
        raise InputError("--candidates=model is not for a part of a hybrid: take bm25 or a run")
    home = stages.home_of(model, prepared, workdir)
    vectors = stages.encode_docs(
        model, prepared, home / "vectors", model_path=model.path or workdir, progress=progress
    )
    kind = "sparse" if model.encoder.kind == "sparse" else "exact"
    index = stages.build_index(vectors, home, kind, {}, progress=progress)
    return index.search(encode_queries(model, texts, desc="queries" if progress else None), k)[1]


def score(
    model: Model,
    prepared: Prepared,
    split: str,
    pairs: Pairs,
    *,
    part: str | None = None,
    mesh: Mesh | None = None,
    out: PathLike | None = None,
    number: int = 0,
    progress: bool = True,
    desc: str = "score",
) -> Float32[np.ndarray, " m"]:
    """The scores of pairs by a cross-encoder, or the dot products that the model's own search would give.

    Args:
      out: the file that the scores will be written to: they are kept beside it meanwhile, so that a call that
        was stopped goes on. ``number`` tells teachers apart.
    """
    return score_pairs(
        model,
        prepared,
        split,
        pairs.query_row,
        pairs.doc_row,
        part=part,
        mesh=mesh,
        out=out,
        name=f"teacher-{number}",
        desc=desc if progress else None,
    )


def write(out: PathLike, prepared: Prepared, split: str, pairs: Pairs, scores: Sequence[np.ndarray]) -> None:
    """Writes ``{"query_id", "doc_ids", "scores"}`` a line; of several teachers one list of scores each.

    The file appears whole or not at all, and what :func:`score` kept beside it goes; gzipped if it ends in
    ``.gz``.
    """
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    asked, starts = np.unique(pairs.query_row, return_index=True)
    needed, at = np.unique(pairs.doc_row, return_inverse=True)
    doc_ids = _doc_ids(prepared, needed.tolist())
    query_ids = [query.query_id for query in prepared.queries[split].rows(asked.tolist())]
    work = out.with_name(f".{out.name}.tmp")
    opener: Any = gzip.open if out.suffix == ".gz" else open
    try:
        with opener(work, "wt", encoding="utf-8") as f:
            for query_id, begin, end in zip(query_ids, starts, np.append(starts[1:], len(at))):
                lists = [[float(f"{x:.7g}") for x in values[begin:end]] for values in scores]
                ids = [doc_ids[i] for i in at[begin:end]]
                row = {"query_id": query_id, "doc_ids": ids, "scores": lists[0] if len(lists) == 1 else lists}
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
        os.replace(work, out)
    finally:
        work.unlink(missing_ok=True)
    for number in range(len(scores)):
        forget(out, f"teacher-{number}")


def share_first(pairs: Pairs, scores: np.ndarray) -> float:
    """The share of queries with candidates whose best relevant document is scored above every candidate."""
    asked, at = np.unique(pairs.query_row, return_inverse=True)
    best = np.full((2, len(asked)), -np.inf)
    np.maximum.at(best, (pairs.relevant.astype(int), at), scores)
    has = np.isfinite(best[0])
    return float((best[1] > best[0])[has].mean()) if has.any() else 1.0


def _doc_ids(prepared: Prepared, rows: Sequence[int] | range) -> list[str]:
    docs = prepared.docs
    ids = Records(docs.directory, docs.split, {"doc_id": DOCS["doc_id"]}, str, len(docs))
    return ids.rows(rows)
