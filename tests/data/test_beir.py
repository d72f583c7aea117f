import gzip
import os

import pytest

from jaxir.checks import InputError
from jaxir.data.sources import open_source
from jaxir.types import Doc, Qrel, Query

CORPUS = [
    {"_id": "a", "title": "A", "text": "apple"},
    {"_id": "b", "text": "bear", "metadata": {}},
    {"_id": 3, "title": None, "text": ""},
]
QUERIES = [{"_id": "q1", "text": "fruit"}, {"_id": "q2", "text": "animal"}, {"_id": "q3", "text": "x"}]
HEADER = "query-id\tcorpus-id\tscore\n"


def test_reads_the_layout(beir):
    folder = beir(
        CORPUS,
        QUERIES,
        **{"qrels/train.tsv": HEADER + "q1\ta\t1\n", "qrels/test.tsv": "q2\tb\t2\r\nq2\t3\t0\r\n"},
    )
    source = open_source(f"beir:{folder}")
    docs = [Doc("a", "A", "apple"), Doc("b", "", "bear"), Doc("3", "", "")]
    assert list(source.docs) == docs
    assert list(source.docs) == docs  # may be read again
    assert source.name == "set"
    assert source.queries == {"train": [Query("q1", "fruit")], "test": [Query("q2", "animal")]}
    assert source.qrels == {
        "train": [Qrel("q1", "a", 1)],
        "test": [Qrel("q2", "b", 2), Qrel("q2", "3", 0)],
    }


def test_packed_files_are_the_same(beir):
    plain = beir(CORPUS, QUERIES, **{"qrels/test.tsv": HEADER + "q1\ta\t1\n"})
    before = open_source(f"beir:{plain}")
    docs = list(before.docs)
    for path in list(plain.rglob("*.*")):
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    after = open_source(f"beir:{plain}")
    assert list(after.docs) == docs
    assert (after.queries, after.qrels) == (before.queries, before.qrels)


def test_judged_pairs_replace_the_relevant_ones(beir):
    folder = beir(
        CORPUS,
        QUERIES,
        **{
            "qrels/test.tsv": HEADER + "q1\ta\t1\n",
            "qrels/dev.tsv": HEADER + "q2\ta\t1\n",
            "judged/test.tsv": HEADER + "q1\ta\t1\nq1\tb\t0\n",
        },
    )
    source = open_source(f"beir:{folder}")
    assert [q.relevance for q in source.qrels["test"]] == [1, 0]
    assert [q.relevance for q in source.qrels["dev"]] == [1]


def test_without_qrels(beir):
    source = open_source(f"beir:{beir(CORPUS, QUERIES)}")
    assert {split: len(rows) for split, rows in source.queries.items()} == {"queries": 3}
    assert source.qrels == {}


def test_a_corpus_alone(beir):
    source = open_source(f"beir:{beir(CORPUS)}")
    assert len(list(source.docs)) == 3
    assert source.queries == {}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"_id": "b", "text": "x"', "not valid JSON"),
        ('["b"]', "expected a JSON object"),
        ('{"text": "x"}', "expected '_id'"),
        ('{"_id": "", "text": "x"}', "expected '_id'"),
        ('{"_id": true, "text": "x"}', "expected '_id'"),
        ('{"_id": "b"}', "expected 'text' to be a text, found None"),
        ('{"_id": "b", "text": 5}', "expected 'text' to be a text, found 5"),
    ],
)
@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl"])
def test_malformed_lines_are_named(beir, line, text, file):
    rows = {"corpus": list(CORPUS), "queries": list(QUERIES)}
    rows[file.split(".")[0]][1] = line
    with pytest.raises(InputError, match=rf"{file}, line 2: .*{text}"):
        list(open_source(f"beir:{beir(**rows)}").docs)


def test_a_title_is_a_text(beir):
    folder = beir([CORPUS[0], {"_id": "b", "title": 5, "text": "x"}])
    with pytest.raises(InputError, match=r"corpus.jsonl, line 2: expected 'title' to be a text, found 5"):
        list(open_source(f"beir:{folder}").docs)


@pytest.mark.parametrize(
    ("qrels", "line", "text"),
    [
        (HEADER + "q1\ta\n", 2, "found 2 fields"),
        (HEADER + "q1 0 a 1\n", 2, "found 1 fields"),
        (HEADER + "q1\ta\t1\nq1\tb\tyes\n", 3, "the score is 'yes'"),
        ("q1\ta\t1\nq1\tb\t0.5\n", 2, "the score is '0.5'"),
        ("q1\ta\t1\n\nq1\tb\t\n", 3, "the score is ''"),
    ],
)
def test_malformed_judgements_are_named(beir, qrels, line, text):
    folder = beir(CORPUS, QUERIES, **{"qrels/test.tsv": qrels})
    with pytest.raises(InputError, match=rf"qrels/test.tsv, line {line}: .*{text}"):
        open_source(f"beir:{folder}")


def test_text_that_is_not_utf8(beir):
    folder = beir(CORPUS, **{"corpus.jsonl": b'{"_id": "a", "text": "x"}\n{"_id": "b", "text": "\xff"}\n'})
    with pytest.raises(InputError, match=r"corpus.jsonl, line 2: not UTF-8"):
        list(open_source(f"beir:{folder}").docs)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"no gzip at all"])
def test_damaged_archives(beir, damage):
    text = b"".join(b'{"_id": "%d", "text": "%s"}\n' % (i, os.urandom(9).hex().encode()) for i in range(99))
    folder = beir([], **{"corpus.jsonl.gz": damage(gzip.compress(text))})
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"corpus.jsonl.gz: damaged after line \d+"):
        list(open_source(f"beir:{folder}").docs)


def test_missing_parts(beir, tmp_path):
    with pytest.raises(InputError, match="no directory"):
        open_source(f"beir:{tmp_path / 'nowhere'}")
    with pytest.raises(InputError, match="no directory ''"):
        open_source("beir:")
    with pytest.raises(InputError, match=r"has no corpus.jsonl"):
        open_source(f"beir:{beir(None, QUERIES)}")
    folder = beir(CORPUS, **{"qrels/test.tsv": HEADER})
    (folder / "queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"has no queries.jsonl"):
        open_source(f"beir:{folder}")
