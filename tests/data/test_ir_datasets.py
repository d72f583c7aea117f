"""The catalogue itself is a stand-in: no network, and the package is optional."""

import sys
import types
from typing import NamedTuple

import pytest

from jaxir.checks import InputError
from jaxir.data.sources import open_source
from jaxir.types import Doc, Qrel, Query


class TextDoc(NamedTuple):
    doc_id: str
    text: str
    title: str


class OtherDoc(NamedTuple):
    doc_id: str
    body: str

    def default_text(self):
        return self.body


class TextQuery(NamedTuple):
    query_id: str
    text: str


class TrecQrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int
    iteration: str


class Dataset:
    def __init__(self, docs, queries=None, qrels=None):
        self._docs, self._queries, self._qrels = docs, queries, qrels

    def has_docs(self):
        return self._docs is not None

    def has_qrels(self):
        return self._qrels is not None

    def docs_iter(self):
        if isinstance(self._docs, Exception):
            raise self._docs
        return iter(self._docs)

    def queries_iter(self):
        return iter(self._queries)

    def qrels_iter(self):
        return iter(self._qrels)


@pytest.fixture
def catalogue(monkeypatch):
    docs = [TextDoc("d1", "text one", "title one"), TextDoc("d2", "text two", "")]
    small = Dataset(docs, [TextQuery("q1", "one")], [TrecQrel("q1", "d1", 1, "0")])
    registry = {
        "small": Dataset(docs),
        "small/train": small,
        "small/dev": Dataset(docs),
        "small/other/judged": small,
        "other": Dataset([OtherDoc("d1", "a body")]),
        "offline": Dataset(ConnectionError("no route to host")),
        "queries": Dataset(None),
    }
    module = types.ModuleType("ir_datasets")
    module.registry = registry
    module.load = registry.__getitem__
    monkeypatch.setitem(sys.modules, "ir_datasets", module)


def test_splits_below_a_name(catalogue):
    source = open_source("ir_datasets:small")
    docs = [Doc("d1", "title one", "text one"), Doc("d2", "", "text two")]
    assert list(source.docs) == docs
    assert list(source.docs) == docs
    assert source.queries == {"train": [Query("q1", "one")]}
    assert source.qrels == {"train": [Qrel("q1", "d1", 1)]}
    assert source.name == "small"


def test_a_name_with_judgements_is_one_split(catalogue):
    assert list(open_source("ir_datasets:small/train").qrels) == ["train"]


def test_named_splits(catalogue):
    source = open_source("ir_datasets:small,train,other/judged")
    assert list(source.qrels) == ["train", "other/judged"]


def test_documents_of_other_kinds(catalogue):
    assert list(open_source("ir_datasets:other").docs) == [Doc("d1", "", "a body")]


def test_mistakes(catalogue):
    with pytest.raises(InputError, match="Did you mean 'small'"):
        open_source("ir_datasets:smal")
    with pytest.raises(InputError, match="has no 'small/test'"):
        open_source("ir_datasets:small,test")
    with pytest.raises(InputError, match="could not provide offline: no route"):
        list(open_source("ir_datasets:offline").docs)
    with pytest.raises(InputError, match="no documents"):
        open_source("ir_datasets:queries")


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'jaxir\[ir-datasets\]'"):
        open_source("ir_datasets:small")
