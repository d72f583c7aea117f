"""A collection of the ir_datasets catalogue (msmarco-passage, beir/*, ...), which downloads it.

Needs the extra: ``pip install 'jaxir[ir-datasets]'``.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from jaxir.checks import InputError, nearest
from jaxir.types import Doc, Qrel, Query, Source

SPLITS = ("train", "dev", "validation", "test")


def open(argument: str) -> Source:
    """``"NAME"``, or ``"NAME,SPLIT,..."`` with the ends of names below it as splits.

    ``beir/scifact/test`` is one split; ``beir/scifact`` has those of train, dev, validation and test
    that lie directly below it; ``msmarco-passage,train,dev/small,trec-dl-2019/judged`` says which.

    Raises:
      InputError: ir_datasets is not installed, unknown name, or the download fails.
    """
    name, *ends = argument.split(",")
    try:
        catalogue = importlib.import_module("ir_datasets")
    except ImportError as error:
        raise InputError(
            "the source ir_datasets needs a package: pip install 'jaxir[ir-datasets]'"
        ) from error
    data = _load(catalogue, name)
    if not data.has_docs():
        raise InputError(f"{name} of ir_datasets has no documents")
    if ends:
        parts = {end: _load(catalogue, f"{name}/{end}") for end in ends}
    elif data.has_qrels():
        parts = {name.rpartition("/")[2]: data}
    else:
        found = {end: _load(catalogue, f"{name}/{end}", missing_ok=True) for end in SPLITS}
        parts = {end: part for end, part in found.items() if part is not None and part.has_qrels()}
    with _downloading(name):
        queries = {
            end: [Query(q.query_id, _query_text(q)) for q in part.queries_iter()]
            for end, part in parts.items()
        }
        qrels = {
            end: [Qrel(q.query_id, q.doc_id, int(q.relevance)) for q in part.qrels_iter()]
            for end, part in parts.items()
        }
    return Source(name, Docs(data, name), queries, qrels)


class Docs:
    """The documents, streamed; they may be iterated again."""

    def __init__(self, data: Any, name: str) -> None:
        self._data, self._name = data, name

    def __iter__(self) -> Iterator[Doc]:
        with _downloading(self._name):
            for doc in self._data.docs_iter():
                if hasattr(doc, "text"):
                    yield Doc(doc.doc_id, getattr(doc, "title", "") or "", doc.text or "")
                else:  # kinds with other fields know which of them make the text
                    yield Doc(doc.doc_id, "", doc.default_text())


def _query_text(query: Any) -> str:
    return query.text if hasattr(query, "text") else query.default_text()


def _load(catalogue: Any, name: str, *, missing_ok: bool = False) -> Any:
    try:
        return catalogue.load(name)
    except KeyError as error:
        if missing_ok:
            return None
        hint = nearest(name, list(catalogue.registry))
        raise InputError(f"ir_datasets has no {name!r}.{hint} See https://ir-datasets.com") from error


@contextlib.contextmanager
def _downloading(name: str) -> Iterator[None]:
    """What ir_datasets raises while it fetches and unpacks, as one sentence."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise InputError(f"ir_datasets could not provide {name}: {error}") from error
