"""The stages of the chain, each usable by itself: queries, vectors, indexes, BM25.

What stands on disk already, made by the same model from the same data set, is used again.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxir import processes
from jaxir.checks import InputError, check_known
from jaxir.data.prepared import Prepared, qrels_by_id
from jaxir.files import MANIFEST, PathLike, fingerprint
from jaxir.retrieval import index, runs
from jaxir.retrieval.bm25 import BM25
from jaxir.retrieval.encode import make_text_fn
from jaxir.retrieval.index import Index
from jaxir.retrieval.model import encode_prepared, settings
from jaxir.training.checkpoint import Model

Run = dict[str, dict[str, float]]


class Split(NamedTuple):
    """The judged queries of a split."""

    ids: list[str]
    texts: list[str]
    qrels: dict[str, dict[str, int]]


class Clock:
    """Seconds per stage: ``with clock("encode"): ...``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


def read_split(prepared: Prepared, split: str, *, limit: int | None = None) -> Split:
    """The queries of a split that have judgements, at most ``limit`` of them, evenly spaced.

    Raises:
      InputError: no such split, or one without judgements.
    """
    check_known(f"split of {prepared.name}", split, prepared.qrels)
    judged = qrels_by_id(prepared, split)
    rows = np.unique(prepared.qrels[split].query_row)
    if not len(rows):
        raise InputError(f"the split {split!r} of {prepared.name} has no judgements")
    if limit is not None and len(rows) > limit:
        rows = rows[np.linspace(0, len(rows) - 1, limit).astype(int)]
    queries = prepared.queries[split].rows(rows.tolist())
    ids = [q.query_id for q in queries]
    return Split(ids, [q.text for q in queries], {i: judged[i] for i in ids})


def encode_docs(
    model: Model,
    prepared: Prepared,
    out: PathLike,
    *,
    part: str | None = None,
    model_path: PathLike,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> pathlib.Path:
    """Encodes the corpus to a vectors directory, unless it stands there already.

    Several processes that call it encode a part each.
    """
    out = pathlib.Path(out)
    # Process 0 looks for all: one that does not see yet what another wrote would wait for the others forever.
    if not processes.from_first("vectors", processes.is_first() and (out / MANIFEST).is_file()):
        encode_prepared(model, prepared, out, part=part, model_path=model_path, mesh=mesh, progress=progress)
    return out


def build_index(
    vectors: pathlib.Path,
    home: pathlib.Path,
    kind: str,
    options: Mapping[str, Any],
    *,
    progress: bool = True,
) -> Index:
    """Builds ``home/index-KIND`` (with other options than the defaults: ``-KEY``), or opens it.

    Of several processes that call it the first builds, and all search together.
    """
    named = {k: v for k, v in options.items() if k != "queries"}
    out = home / (f"index-{kind}" + (f"-{fingerprint(named)[:6]}" if named else ""))
    if processes.is_first() and not (out / MANIFEST).is_file():
        index.build(vectors, out, kind=kind, progress=progress, **options)
    processes.barrier("index")
    return index.open(out, over_processes=True)


def home_of(model: Model, prepared: Prepared, workdir: PathLike, *, part: str | None = None) -> pathlib.Path:
    """Where everything of this model and this data set lies; another encoding lies elsewhere."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", prepared.name)[-40:]
    key = fingerprint(model.fingerprint, prepared.fingerprint, settings(model, part=part))
    return pathlib.Path(workdir) / "retrieval" / f"{name}-{key[:8]}"


def lexical_index(model: Model, prepared: Prepared, ids: np.ndarray, language: str, progress: bool) -> BM25:
    text = make_text_fn(settings(model)["doc_text"])
    return BM25((text(doc) for doc in prepared.docs), ids, language=language, progress=progress)


def search_words(lexical: BM25, split: Split, depth: int) -> Run:
    scores, rows = lexical.search(split.texts, depth)
    return runs.from_arrays(scores, rows, split.ids, lexical.ids)
