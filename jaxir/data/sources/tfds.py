"""A directory that ``jaxir prepare`` wrote, or TFDS data sets in the same layout.

``DIR/docs`` (split ``corpus``: doc_id, text and perhaps title), ``DIR/queries`` (query_id, text) and
``DIR/qrels`` (query_id, doc_id, relevance) with equal split names; the last two may be missing.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from jaxir.checks import InputError
from jaxir.data.prepared import CORPUS, DOCS, QRELS, QUERIES
from jaxir.data.records import Records, Schema, describe
from jaxir.types import Doc, Qrel, Query, Source


def open(argument: str) -> Source:
    """The directory ``argument`` as a source; documents and queries are read by random access.

    Raises:
      InputError: no such directory, not array_record data sets, or a field is missing.
    """
    folder = pathlib.Path(argument)
    if not argument or not folder.is_dir():
        raise InputError(f"there is no directory {argument!r}; write tfds:DIR")
    docs = _records(folder / "docs", DOCS, Doc, optional="title")
    if CORPUS not in docs:
        raise InputError(f"{folder / 'docs'} has no split {CORPUS!r}; it has {', '.join(docs) or 'none'}")
    queries = _records(folder / "queries", QUERIES, Query)
    judged = {name: QRELS[name] for name in ("query_id", "doc_id", "relevance")}
    qrels = _records(folder / "qrels", judged, Qrel)
    return Source(folder.resolve().name, docs[CORPUS], queries, qrels)


def _records(
    path: pathlib.Path, schema: Schema, make: Callable[..., Any], optional: str = ""
) -> dict[str, Records[Any]]:
    """Every split of one of the three data sets; a directory that is not there has none."""
    if not path.is_dir():
        return {}
    splits, fields = describe(path)
    missing = [name for name in schema if name not in fields and name != optional]
    if missing:
        raise InputError(f"{path} has no field {missing[0]!r}; it has {', '.join(fields)}")
    present = {name: kind for name, kind in schema.items() if name in fields}

    def row(*values: Any) -> Any:
        return make(**{optional: "", **dict(zip(present, values))})

    whole = len(present) == len(schema)
    return {split: Records(path, split, present, make if whole else row, n) for split, n in splits.items()}
