"""A folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv; each plain or .gz.

The corpus is streamed, never held. Where the folder also has ``judged/SPLIT.tsv`` (all judged pairs,
non-relevant ones included), that file replaces ``qrels/SPLIT.tsv``, which lists relevant pairs only.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from jaxir.checks import InputError
from jaxir.data.textfiles import id_of, json_object, lines, text_of
from jaxir.types import Doc, Qrel, Query, Source

UNJUDGED = "queries"
"""The split that holds all queries of a folder without qrels."""


def open(argument: str) -> Source:
    """The folder ``argument`` as a source; its splits are the files of ``qrels/`` and ``judged/``.

    A split's queries are those that its file names. Queries without any qrels file make one split
    "queries"; a folder with a corpus alone is a source of documents.

    Raises:
      InputError: a missing folder or file, or a malformed line (with its number); lines of the
        corpus are read, and complained about, when the documents are iterated.
    """
    folder = pathlib.Path(argument)
    if not argument or not folder.is_dir():
        raise InputError(f"there is no directory {argument!r}; write beir:DIR")
    docs = Corpus(_existing(folder / "corpus.jsonl"))
    files = {**_splits(folder / "qrels"), **_splits(folder / "judged")}
    name = folder.resolve().name
    if not files and _find(folder / "queries.jsonl") is None:
        return Source(name, docs, {}, {})
    queries = list(_read_queries(_existing(folder / "queries.jsonl")))
    if not files:
        return Source(name, docs, {UNJUDGED: queries}, {})
    qrels = {split: QrelFile(path) for split, path in files.items()}
    asked = {split: {qrel.query_id for qrel in rows} for split, rows in qrels.items()}
    chosen = {split: [q for q in queries if q.query_id in ids] for split, ids in asked.items()}
    return Source(name, docs, chosen, qrels)


@dataclass(frozen=True)
class Corpus:
    """The documents of a jsonl file; every iteration reads the file anew."""

    path: pathlib.Path

    def __iter__(self) -> Iterator[Doc]:
        for where, line in lines(self.path):
            doc = json_object(where, line)
            title = "" if doc.get("title") is None else text_of(where, doc, "title")
            yield Doc(id_of(where, doc, "_id"), title, text_of(where, doc, "text"))


class QrelFile(list):
    """The judgements of a tsv file (query-id, corpus-id, score; a header or none), and its path."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(_read_qrels(path))
        self.path = path


def _read_queries(path: pathlib.Path) -> Iterator[Query]:
    for where, line in lines(path):
        query = json_object(where, line)
        yield Query(id_of(where, query, "_id"), text_of(where, query, "text"))


def _read_qrels(path: pathlib.Path) -> Iterator[Qrel]:
    for n, (where, line) in enumerate(lines(path)):
        fields = line.split("\t")
        if len(fields) != 3:
            raise InputError(
                f"{where}: expected query-id, corpus-id and score separated by tabs, found "
                f"{len(fields)} fields"
            )
        query_id, doc_id, score = fields
        try:
            relevance = int(score) if score.lstrip("-").isdigit() else float(score)
            if relevance != int(relevance):
                raise ValueError
        except (ValueError, OverflowError):
            if n == 0:  # the header
                continue
            raise InputError(f"{where}: the score is {score!r}, expected a whole number") from None
        yield Qrel(query_id, doc_id, int(relevance))


def _splits(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    files = sorted([*folder.glob("*.tsv"), *folder.glob("*.tsv.gz")]) if folder.is_dir() else []
    return {path.name.partition(".")[0]: path for path in files}


def _find(path: pathlib.Path) -> pathlib.Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def _existing(path: pathlib.Path) -> pathlib.Path:
    found = _find(path)
    if found is None:
        raise InputError(f"{path.parent} has no {path.name} (or {path.name}.gz)")
    return found
