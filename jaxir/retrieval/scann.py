"""Approximate search with ScaNN: a tree of partitions, anisotropic hashing inside, exact reordering.

Guo et al., Accelerating Large-Scale Inference with Anisotropic Vector Quantization, ICML 2020. Runs on
CPU. What the library does not say aloud and this file handles: row numbers are uint32; a query whose
partitions hold fewer than k documents gets row 0 with score NaN; k above the corpus gives fewer
columns; serialised paths are absolute unless told otherwise; its own loader unpickles a file that it
finds in the directory.
"""

from __future__ import annotations

import errno
import math
import os
import pathlib
import re
import shutil
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scann.scann_ops.py import scann_ops_pybind

from jaxir.checks import InputError, check_positive
from jaxir.retrieval.exact import Search, search_numpy
from jaxir.retrieval.native import quiet
from jaxir.retrieval.topk import NOT_FOUND

BRUTE_FORCE_BELOW = 10_000
"""Documents under which partitions cost more recall than they save time."""

CALIBRATION_K = 100
CALIBRATION_QUERIES = 256


def build(
    vectors: Float[np.ndarray, "n d"],
    directory: pathlib.Path,
    *,
    force_tree: bool = False,
    leaves: int | None = None,
    leaves_to_search: int | None = None,
    reorder: int | None = None,
    dims_per_block: int = 2,
    anisotropic_threshold: float = 0.2,
    soar: float | None = None,
    training_sample: int = 100_000,
    threads: int = 0,
    queries: Float[np.ndarray, "q d"] | None = None,
    target_recall: float | None = None,
) -> dict[str, Any]:
    """Builds a searcher over float32 ``vectors`` and writes its files; returns what it chose.

    Under 10,000 documents the searcher is brute force, unless ``force_tree``. Above, the rule is:

    - ``leaves`` = sqrt(n), rounded: partitions of about sqrt(n) documents.
    - ``reorder`` = 4: the candidates that get exact scores, as a multiple of k, at least 200.
      Doubled, up to 16, while not even a search of all leaves reaches the target.
    - ``leaves_to_search`` = the fewest (in steps of 1/40 of them) whose recall@100 against exact
      search, measured on ``queries``, reaches ``target_recall``. How many are needed depends on the
      embeddings (0.2 of them on one set, 0.6 on another), so it is measured and not guessed.

    Args:
      directory: an existing empty directory.
      dims_per_block, anisotropic_threshold, soar, training_sample: as ScaNN names them. ``soar``
        (the lambda, 1.0-1.5) puts each document into a second partition: more recall per leaf,
        twice the entries per leaf.
      threads: for training; 0 = the library's choice.
      queries: typical query vectors, for the measurement. By default a sample of the documents
        stands in; documents find their neighbours more easily than queries do, hence its higher
        default target.
      target_recall: default 0.97 on ``queries``, 0.98 on documents that stand in for them.

    Raises:
      InputError: an option out of range, or too few documents to train a tree.
    """
    n = len(vectors)
    vectors = np.ascontiguousarray(vectors, np.float32)
    if not force_tree and n < BRUTE_FORCE_BELOW:
        builder = scann_ops_pybind.builder(vectors, 1, "dot_product").score_brute_force()
        _write(builder, directory)
        return {"tree": False}
    leaves = round(math.sqrt(n)) if leaves is None else leaves
    for name, value in {
        "leaves": leaves,
        "leaves_to_search": leaves_to_search,
        "reorder": reorder,
        "dims_per_block": dims_per_block,
        "anisotropic_threshold": anisotropic_threshold,
        "training_sample": training_sample,
    }.items():
        if value is not None:
            check_positive(name, value)
    if n < 16 or leaves > n:
        raise InputError(
            f"a ScaNN tree of {leaves} leaves needs at least {max(16, leaves)} documents, there are "
            f"{n}; leave out force_tree and leaves"
        )
    sample = min(training_sample, n)
    builder = (
        scann_ops_pybind.builder(vectors, 1, "dot_product")
        .set_n_training_threads(threads)
        .tree(leaves, leaves, training_sample_size=sample, soar_lambda=soar)
        .score_ah(
            dims_per_block,
            anisotropic_quantization_threshold=anisotropic_threshold,
            training_sample_size=sample,
        )
        .reorder(200)
    )
    searcher = _write(builder, directory)
    facts: dict[str, Any] = {
        "tree": True,
        "leaves": leaves,
        "dims_per_block": dims_per_block,
        "anisotropic_threshold": anisotropic_threshold,
        "soar": soar,
        "training_sample": sample,
    }
    if queries is None:
        rows = np.linspace(0, n - 1, min(CALIBRATION_QUERIES, n)).astype(int)
        queries, on, target = vectors[rows], "documents", target_recall or 0.98
    else:
        rows = np.linspace(0, len(queries) - 1, min(CALIBRATION_QUERIES, len(queries))).astype(int)
        queries, on, target = queries[rows].astype(np.float32), "queries", target_recall or 0.97
    facts |= _calibrate(searcher, vectors, queries, leaves, leaves_to_search, reorder, target)
    return facts | {"measured_on": on}


def _calibrate(
    searcher: Any,
    vectors: np.ndarray,
    queries: np.ndarray,
    leaves: int,
    leaves_to_search: int | None,
    reorder: int | None,
    target: float,
) -> dict[str, Any]:
    """The fewest leaves to search that reach the target recall, and the recall measured there."""
    k = min(CALIBRATION_K, len(vectors))
    _, truth = search_numpy(queries, k, vectors=vectors)

    def recall(searched: int, times: int) -> float:
        _, rows = _search(searcher, queries, k, max(times * k, 200), searched)
        return float(np.mean([np.isin(found, true).mean() for found, true in zip(rows, truth)]))

    times = reorder or 4
    while reorder is None and times < 16 and recall(leaves_to_search or leaves, times) < target:
        times *= 2
    low, high = 1, 40
    while leaves_to_search is None and low < high:
        middle = (low + high) // 2
        if recall(math.ceil(leaves * middle / 40), times) >= target:
            high = middle
        else:
            low = middle + 1
    searched = min(leaves_to_search or math.ceil(leaves * high / 40), leaves)
    return {
        "leaves_to_search": searched,
        "reorder": times,
        "measured_recall@100": round(recall(searched, times), 4),
        "target_recall": target,
    }


def open(
    directory: pathlib.Path,
    facts: dict[str, Any],
    n: int,
    *,
    leaves_to_search: int | None = None,
    reorder: int | None = None,
) -> Search:
    """``search(queries [q, d] float32, k)`` over what :func:`build` wrote.

    A k so large that the searched leaves would hold fewer than 4 k documents searches more of them.

    Args:
      facts: what :func:`build` returned.
      n: documents in the index.
      leaves_to_search, reorder: other values than the ones chosen at build.

    Raises:
      InputError: files that ScaNN cannot read, or that name files elsewhere.
    """
    assets = directory / "scann_assets.pbtxt"
    text = assets.read_text(encoding="utf-8") if assets.is_file() else ""
    for name in re.findall(r'asset_path:\s*"([^"]*)"', text) or [""]:
        if not name or pathlib.PurePath(name).name != name:
            raise InputError(f"{assets} is damaged or foreign: it names the file {name!r}")
    try:
        # Not scann's load_searcher: it unpickles scann_docids.pkl when the directory has one.
        with quiet():
            native = scann_ops_pybind.scann_pybind.ScannNumpy(str(directory), text)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"ScaNN cannot read {directory}: {error}") from error
    searcher = scann_ops_pybind.ScannSearcher(native)
    leaves = facts.get("leaves", 1)
    searched = leaves_to_search or facts.get("leaves_to_search", 1)
    times = reorder or facts.get("reorder", 1)

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not facts["tree"]:
            return _search(searcher, queries, k, None, None)
        enough = math.ceil(leaves * min(1.0, 4 * k / n))
        return _search(searcher, queries, k, max(times * k, 200), min(max(searched, enough), leaves))

    return search


def _search(
    searcher: Any, queries: np.ndarray, k: int, candidates: int | None, leaves: int | None
) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
    queries = np.ascontiguousarray(queries, np.float32)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), NOT_FOUND, np.int64)
    if len(queries):
        share = math.ceil(len(queries) / (os.cpu_count() or 1))
        found, values = searcher.search_batched_parallel(
            queries, k, candidates, leaves, batch_size=min(share, 256)
        )
        real = np.isfinite(values)  # places that it could not fill have row 0 and NaN
        width = found.shape[1]
        rows[:, :width] = np.where(real, found.astype(np.int64), NOT_FOUND)
        scores[:, :width] = np.where(real, values, -np.inf)
        # Ties lowest row first, what was not found last.
        order = np.lexsort((rows, -scores), axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    return scores, rows


def _write(builder: Any, directory: pathlib.Path) -> Any:
    try:
        with quiet():
            searcher = builder.build()
            searcher.serialize(str(directory), relative_path=True)
    except RuntimeError as error:
        if shutil.disk_usage(directory).free < 1 << 20:  # the library says "I/O error"
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory)) from error
        raise InputError(f"ScaNN could not build the index: {error}") from error
    return searcher
