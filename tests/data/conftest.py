"""Small data sets that every test of this room may use."""

import json

import pytest

from jaxir.data import tokenizer as tokenizers
from jaxir.data.prepare import prepare
from jaxir.types import Doc, Qrel, Query, Source

WORDS = ["red", "blue", "green", "gold", "tin", "iron", "oak", "elm", "ash", "fox", "owl", "bee", "ant"]


def sentence(n: int, length: int) -> str:
    return " ".join(WORDS[(n * 7 + i * (n % 5 + 1)) % len(WORDS)] for i in range(length))


def make_source(name="toy", docs=40, train=20, offset=0) -> Source:
    """Every training query has one positive (its own number), one graded 2, and two judged 0."""
    corpus = [Doc(f"{name}-d{i}", f"title {i}", sentence(i + offset, 3 + i % 17)) for i in range(docs)]
    queries = {
        "train": [Query(f"{name}-q{i}", sentence(i + offset, 2 + i % 4)) for i in range(train)],
        "test": [Query(f"{name}-t{i}", sentence(i, 3)) for i in range(3)],
    }
    qrels = {
        "train": [
            Qrel(f"{name}-q{i}", f"{name}-d{(i + step) % docs}", grade)
            for i in range(train)
            for step, grade in ((0, 1), (1, 2), (2, 0), (3, 0))
        ],
        "test": [Qrel(f"{name}-t{i}", f"{name}-d{i}", 1) for i in range(3)],
    }
    return Source(name, corpus, queries, qrels)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A prepared data set: 40 documents, 20 training queries with 2 positives each."""
    return prepare(make_source(), tmp_path_factory.mktemp("toy") / "data", progress=False)


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """A second, smaller one."""
    source = make_source("other", docs=12, train=6, offset=100)
    return prepare(source, tmp_path_factory.mktemp("other") / "data", progress=False)


@pytest.fixture(scope="session")
def tokenizer(toy):
    return tokenizers.train([d.text for d in toy.docs], vocab_size=200)


@pytest.fixture
def beir(tmp_path):
    """Writes a folder in BEIR layout: beir(corpus=[...], queries=[...], **{"qrels/test.tsv": "..."})."""

    def write(corpus, queries=None, **files):
        folder = tmp_path / "set"
        for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
            if rows is not None:
                lines = (r if isinstance(r, str) else json.dumps(r) for r in rows)
                files.setdefault(name, "".join(f"{line}\n" for line in lines))
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return write
