"""A prepared data set: what ``jaxir prepare`` wrote, read by random access.

A directory with the TFDS array_record data sets ``docs`` (split ``corpus``), ``queries`` and ``qrels``
(splits of the source) and a manifest. ``tfds.builder_from_directory(path / "docs")`` reads them too.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from jaxir.checks import check_known
from jaxir.data.records import Records
from jaxir.files import PathLike, read_manifest
from jaxir.types import Doc, Qrel, Query

CORPUS = "corpus"
"""The one split of the documents."""

DOCS = {"doc_id": str, "title": str, "text": str}
QUERIES = {"query_id": str, "text": str}
QRELS = {
    "query_id": str,
    "doc_id": str,
    "relevance": np.int32,
    "query_row": np.int64,
    "doc_row": np.int64,
}

T = TypeVar("T")


class QrelTable(NamedTuple):
    """Relevance judgements as rows of the split's queries and of the corpus; m judgements."""

    query_row: np.ndarray  # [m] int64
    doc_row: np.ndarray  # [m] int64
    relevance: np.ndarray  # [m] int32


class Lazy(Mapping[str, T], Generic[T]):
    """A mapping from split to something that is read when it is first asked for.

    >>> numbers = Lazy({"dev": lambda: [1, 2]})
    >>> numbers["dev"], "test" in numbers
    ([1, 2], False)
    """

    def __init__(self, readers: Mapping[str, Callable[[], T]]) -> None:
        self._readers = dict(readers)
        self._values: dict[str, T] = {}

    def __getitem__(self, split: str) -> T:
        if split not in self._values:
            self._values[split] = self._readers[split]()
        return self._values[split]

    def __contains__(self, split: object) -> bool:  # Mapping's own would read the split
        return split in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class Prepared(NamedTuple):
    """An opened data set. ``counts`` is what the manifest counts: documents, queries, judgements."""

    name: str
    path: pathlib.Path
    fingerprint: str
    docs: Records[Doc]
    queries: Mapping[str, Records[Query]]
    qrels: Mapping[str, QrelTable]
    counts: dict[str, Any]


def load(path: PathLike) -> Prepared:
    """Opens a directory that ``jaxir prepare`` wrote.

    Raises:
      InputError: not such a directory, or a damaged one.
    """
    path = pathlib.Path(path)
    manifest = read_manifest(path, "dataset")
    counts = manifest["counts"]
    return Prepared(
        manifest["name"],
        path,
        manifest["fingerprint"],
        Records(path / "docs", CORPUS, DOCS, Doc, counts["docs"]),
        {
            split: Records(path / "queries", split, QUERIES, Query, n)
            for split, n in counts["queries"].items()
        },
        Lazy({split: lambda s=split: _table(path, s, counts) for split in counts["qrels"]}),
        counts,
    )


def _table(path: pathlib.Path, split: str, counts: Mapping[str, Any]) -> QrelTable:
    length = counts["qrels"][split]
    schema = {name: QRELS[name] for name in ("query_row", "doc_row", "relevance")}
    records = Records(path / "qrels", split, schema, lambda *values: values, length)
    flat = np.fromiter((v for row in records for v in row), np.int64, 3 * length).reshape(-1, 3)
    return QrelTable(flat[:, 0].copy(), flat[:, 1].copy(), flat[:, 2].astype(np.int32))


def qrels_by_id(prepared: Prepared, split: str) -> dict[str, dict[str, int]]:
    """The judgements of a split as ``{query_id: {doc_id: relevance}}``.

    Raises:
      InputError: the data set has no such split.
    """
    check_known(f"split of {prepared.name}", split, prepared.qrels)
    schema = {name: QRELS[name] for name in ("query_id", "doc_id", "relevance")}
    length = prepared.counts["qrels"][split]
    judged: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance in Records(prepared.path / "qrels", split, schema, Qrel, length):
        judged.setdefault(query_id, {})[doc_id] = relevance
    return judged
