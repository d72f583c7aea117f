"""A source -> a prepared data set: read once, checked, written as TFDS array_record files."""

from __future__ import annotations

import hashlib
import pathlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxir.checks import InputError, check_known
from jaxir.config import Allow
from jaxir.data import prepared as store
from jaxir.data import records
from jaxir.data.prepared import Prepared, load
from jaxir.data.sources import open_source
from jaxir.files import MANIFEST, PathLike, fingerprint, new_directory, read_manifest, write_manifest
from jaxir.types import Doc, Qrel, Source


def prepare(
    source: Source,
    out: PathLike,
    *,
    overwrite: bool = False,
    missing: str = "error",
    progress: bool = True,
) -> Prepared:
    """Writes ``source`` to the directory ``out`` and opens it.

    Documents are streamed: what is held in memory is 8 bytes for each of them, the queries and the
    judgements. The fingerprint depends on the content alone, ids and order included.

    Args:
      overwrite: replaces what stands at ``out``.
      missing: what to do about judgements that name an unknown query or document: "error", or "drop"
        them (counted in ``counts["dropped"]``).
      progress: shows progress bars.

    Raises:
      InputError: an empty corpus, an id that occurs twice, judgements that name unknown ids or
        contradict each other, or ``out`` exists already. Nothing is left behind then.
    """
    check_known("value of missing", missing, ("error", "drop"))
    check_out(out, overwrite)
    with new_directory(out, overwrite=overwrite) as work:
        facts = _write(source, work, missing, progress)
        write_manifest(work, kind="dataset", name=source.name, **facts)
    return load(out)


def check_out(out: PathLike, overwrite: bool) -> None:
    """Raises when ``out`` must not be written: what is no data set of jaxir's is never overwritten."""
    out = pathlib.Path(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{out} exists already; choose another directory or add --overwrite")
    try:
        read_manifest(out, "dataset")
    except InputError as error:
        raise InputError(f"--overwrite replaces data sets of jaxir's only: {error}") from error


def prepare_spec(spec: str, folder: PathLike, *, allow: Allow = None, progress: bool = True) -> Prepared:
    """The data set of a source's name, prepared below ``folder`` unless it is there already.

    ``spec`` may also be a directory that ``jaxir prepare`` wrote (``tfds:DIR`` or just ``DIR``): it is
    opened where it stands.
    """
    directory = pathlib.Path(spec.removeprefix("tfds:"))
    if (directory / MANIFEST).is_file():
        return load(directory)
    # The hash keeps beir:a/b and beir:a_b apart.
    out = pathlib.Path(folder) / f"{re.sub(r'[^A-Za-z0-9]+', '_', spec)[-40:]}-{fingerprint(spec)[:6]}"
    if (out / MANIFEST).is_file():
        return load(out)
    return prepare(open_source(spec, allow=allow), out, progress=progress)


def _write(source: Source, work: pathlib.Path, missing: str, progress: bool) -> dict[str, Any]:
    def bar(rows: Any, what: str) -> Iterator[Any]:
        yield from tqdm(  # a generator: the bar appears when its turn comes
            rows,
            desc=f"{source.name} {what}",
            unit=f" {what}",
            total=len(rows) if hasattr(rows, "__len__") else None,
            leave=what == "docs",
            disable=not progress,
            mininterval=0.5,
        )

    digest = Digest()
    names = _split_names(source)
    # Only the ids that judgements name are held, not those of the whole corpus.
    doc_rows = dict.fromkeys((q.doc_id for rows in source.qrels.values() for q in rows), -1)
    tally: Counter[str] = Counter()
    docs = _checked_docs(source, bar(source.docs, "docs"), doc_rows, tally)
    records.write(work / "docs", store.DOCS, {store.CORPUS: digest.of(docs)})
    if not tally["docs"]:
        raise InputError(f"{source.name} has no documents")

    query_rows = {split: _query_rows(source, split) for split in source.queries}
    queries = {
        names[split]: digest.of(bar(rows, "queries"), names[split]) for split, rows in source.queries.items()
    }
    qrels = {
        names[split]: digest.of(
            _resolved(
                bar(rows, "qrels"),
                str(getattr(rows, "path", f"{source.name}, qrels of {split!r}")),
                query_rows.get(split, {}),
                doc_rows,
                missing,
                tally,
            ),
            names[split],
        )
        for split, rows in source.qrels.items()
    }
    counts = {
        "docs": tally["docs"],
        "empty_docs": tally["empty"],
        "queries": records.write(work / "queries", store.QUERIES, queries, compress=False),
        "qrels": records.write(work / "qrels", store.QRELS, qrels, compress=False),
        "dropped_qrels": tally["dropped"],
    }
    return {"counts": counts, "fingerprint": digest.hexdigest()}


class Digest:
    """A running hash of all rows that pass through it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def of(self, rows: Iterable[Sequence[Any]], *first: Any) -> Iterator[Sequence[Any]]:
        """The same rows; each is hashed, after ``first``, as it passes."""
        self._add(first)
        for row in rows:
            self._add(row)
            yield row

    def _add(self, values: Sequence[Any]) -> None:
        for value in values:  # lengths as well: ("ab", "c") is not ("a", "bc")
            data = str(value).encode("utf-8", "replace")
            self._hash.update(b"%d:" % len(data) + data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _split_names(source: Source) -> dict[str, str]:
    """What the source's splits are called in TFDS, which wants letters, digits and underscores."""
    splits = dict.fromkeys([*source.queries, *source.qrels])
    names = {split: re.sub(r"\W", "_", split) for split in splits}
    names = {split: "all_" if name == "all" else name for split, name in names.items()}  # tfds' word
    if len(set(names.values())) < len(names):
        raise InputError(f"{source.name} has splits that differ in signs only: {', '.join(splits)}")
    return names


def _checked_docs(
    source: Source, docs: Iterable[Doc], rows: dict[str, int], tally: Counter[str]
) -> Iterator[Doc]:
    """The documents; notes the row of those in ``rows``, counts them, refuses an id that comes again."""
    hashes = array("q")
    for row, doc in enumerate(docs):
        hashes.append(hash(doc.doc_id))
        if doc.doc_id in rows and rows[doc.doc_id] < 0:
            rows[doc.doc_id] = row
        tally["docs"] += 1
        tally["empty"] += not (doc.text.strip() or doc.title.strip())
        yield doc
    sorted_hashes = np.sort(np.frombuffer(hashes, np.int64))
    again = set(sorted_hashes[1:][sorted_hashes[1:] == sorted_hashes[:-1]].tolist())
    if again:  # equal ids, or (hardly ever) different ids with equal hashes: a second look tells
        _refuse_repeated(source, (d.doc_id for d in source.docs), "document", again)


def _query_rows(source: Source, split: str) -> dict[str, int]:
    rows = {query.query_id: row for row, query in enumerate(source.queries[split])}
    if len(rows) < len(source.queries[split]):
        _refuse_repeated(source, (q.query_id for q in source.queries[split]), "query")
    return rows


def _refuse_repeated(source: Source, ids: Iterable[str], what: str, hashes: set[int] | None = None) -> None:
    first: dict[str, int] = {}
    for number, id_ in enumerate(ids, start=1):
        if hashes is not None and hash(id_) not in hashes:
            continue
        if id_ in first:
            raise InputError(
                f"{source.name}: the {what} id {id_!r} occurs twice, as number {first[id_]} and number "
                f"{number}; ids must be unique"
            )
        first[id_] = number


def _resolved(
    qrels: Iterable[Qrel],
    where: str,
    query_rows: Mapping[str, int],
    doc_rows: Mapping[str, int],
    missing: str,
    tally: Counter[str],
) -> Iterator[tuple[str, str, int, int, int]]:
    """The judgements with their rows; a pair that is judged twice alike comes once."""
    seen: dict[tuple[int, int], int] = {}
    unknown: dict[str, list[str]] = {"queries": [], "documents": []}
    count = 0
    for query_id, doc_id, relevance in qrels:
        pair = query_rows.get(query_id, -1), doc_rows.get(doc_id, -1)
        if min(pair) < 0:
            unknown["queries"] += [query_id] if pair[0] < 0 else []
            unknown["documents"] += [doc_id] if pair[1] < 0 else []
            count += 1
        elif pair not in seen:
            seen[pair] = relevance
            yield query_id, doc_id, relevance, *pair
        elif seen[pair] != relevance:
            raise InputError(
                f"{where}: query {query_id!r} and document {doc_id!r} are judged twice, as "
                f"{seen[pair]} and {relevance}"
            )
    tally["dropped"] += count
    if count and missing == "error":
        named = " and ".join(f"unknown {what} ({_first(ids)})" for what, ids in unknown.items() if ids)
        raise InputError(f"{where}: {count} judgements name {named}; add --missing=drop to leave them out")


def _first(ids: list[str]) -> str:
    distinct = list(dict.fromkeys(ids))
    return ", ".join(map(repr, distinct[:3])) + (", ..." if len(distinct) > 3 else "")
