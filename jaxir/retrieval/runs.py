"""Runs: what a search found, in memory and as TREC run files.

In memory a run is ``{query_id: {doc_id: score}}`` with the documents in rank order; equal scores rank
in the dict's order.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import pathlib
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxir.checks import InputError
from jaxir.files import PathLike
from jaxir.retrieval.topk import NOT_FOUND

Run = dict[str, dict[str, float]]


def from_arrays(
    scores: Float[np.ndarray, "q k"],
    rows: Int[np.ndarray, "q k"],
    query_ids: Sequence[str],
    doc_ids: np.ndarray | Sequence[str],
) -> Run:
    """A search result with row numbers as a run; rows of -1 (nothing found) are left out.

    >>> from_arrays(np.array([[2.0, -np.inf]]), np.array([[1, -1]]), ["q"], ["a", "b"])
    {'q': {'b': 2.0}}
    """
    if len(query_ids) != len(rows):
        raise InputError(f"results of {len(rows)} queries come with {len(query_ids)} query ids")
    doc_ids = np.asarray(doc_ids)
    run: Run = {}
    for query_id, values, found in zip(query_ids, scores, rows):
        real = found != NOT_FOUND
        ids = [i.decode() if isinstance(i, bytes) else i for i in doc_ids[found[real]].tolist()]
        run[query_id] = dict(zip(ids, values[real].tolist()))
    return run


def write(path: PathLike, run: Mapping[str, Mapping[str, float]], tag: str = "jaxir") -> None:
    """Writes a TREC run file (``query Q0 document rank score tag``), gzipped if it ends in ``.gz``.

    trec_eval ranks by the score alone, read as float32, and breaks ties by document id. So that every
    reader sees the run's own order, an equal score is written one float32 step below the one before.

    Raises:
      InputError: an id with white space, which the format cannot hold, or a score that is NaN.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if path.suffix == ".gz":
                # No file name and time inside: equal runs give equal files.
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                    _write_lines(packed, run, tag)
            else:
                _write_lines(file, run, tag)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise


def _write_lines(file: io.RawIOBase | io.BufferedIOBase, run: Mapping, tag: str) -> None:
    for query_id, found in run.items():
        ranked = sorted(found.items(), key=lambda item: -item[1])  # stable: ties keep their order
        above = np.float32(np.inf)
        lines = []
        for rank, (doc_id, score) in enumerate(ranked, 1):
            if not math.isfinite(score):
                raise InputError(f"query {query_id!r} scores {doc_id!r} with {score}, not a number")
            below = np.nextafter(above, np.float32(-np.inf), dtype=np.float32)
            above = min(np.float32(score), below)
            lines.append(f"{query_id} Q0 {doc_id} {rank} {above:.9g} {tag}\n")
            if len(lines[-1].split()) != 6:
                raise InputError(
                    f"{query_id!r}, {doc_id!r} or {tag!r} is empty or has white space in it; a TREC "
                    "run file cannot hold that"
                )
        file.write("".join(lines).encode())


def read(path: PathLike) -> Run:
    """Reads a TREC run file (plain or gzipped): documents by score downwards, ties by rank column.

    Raises:
      InputError: naming the line: not six columns, a score or rank that is no number, a document
        twice for one query; or a file without results.
    """
    path = pathlib.Path(path)
    ranked: dict[str, dict[str, tuple[float, int]]] = {}
    with _open_text(path) as file:
        for number, line in enumerate(_lines(file, path), 1):
            columns = line.split()
            if not columns:
                continue
            where = f"{path}, line {number}"
            if len(columns) != 6:
                raise InputError(
                    f"{where}: expected 6 columns (query Q0 document rank score tag), found "
                    f"{len(columns)}: {line.strip()[:80]!r}"
                )
            query_id, _, doc_id, rank, score, _ = columns
            try:
                value, place = float(score), int(rank)
            except ValueError as error:
                raise InputError(f"{where}: rank {rank!r} or score {score!r} is no number") from error
            if not math.isfinite(value):
                raise InputError(f"{where}: the score is {score}")
            found = ranked.setdefault(query_id, {})
            if doc_id in found:
                raise InputError(f"{where}: document {doc_id!r} a second time for query {query_id!r}")
            found[doc_id] = (value, place)
    if not ranked:
        raise InputError(f"{path} holds no results")
    return {
        query_id: {
            doc_id: score for doc_id, (score, _) in sorted(found.items(), key=lambda i: (-i[1][0], i[1][1]))
        }
        for query_id, found in ranked.items()
    }


def _open_text(path: pathlib.Path) -> io.TextIOWrapper:
    if not path.is_file():
        raise InputError(f"there is no run file {path}")
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8")
    return io.TextIOWrapper(path.open("rb"), encoding="utf-8")


def _lines(file: io.TextIOWrapper, path: pathlib.Path) -> Iterator[str]:
    try:
        yield from file
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is no text file, or torn: {error}") from error
