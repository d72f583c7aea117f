"""BM25: the formula, ties, languages, and the reference figures of the real data sets."""

import json
import math

import ir_measures
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.retrieval import bm25, runs
from jaxir.retrieval.bm25 import BM25
from jaxir.retrieval.words import analyzer

TEXTS = ["red fox", "blue fox fox jumps", "green", "red fox", ""]


def index(texts=TEXTS, **options):
    return BM25(iter(texts), [f"d{i}" for i in range(len(texts))], progress=False, **options)


def test_scores_are_the_formula():
    scores, rows = index(k1=1.2, b=0.75).search(["fox fox"], 5)
    lengths, tf, df, n = [2, 4, 1, 2, 0], {0: 1, 1: 2, 3: 1}, 3, 5
    average = sum(lengths) / n
    expected = {
        row: 2
        * math.log(1 + (n - df + 0.5) / (df + 0.5))
        * t
        / (t + 1.2 * (0.25 + 0.75 * lengths[row] / average))
        for row, t in tf.items()
    }
    found = {int(r): float(s) for r, s in zip(rows[0], scores[0]) if r >= 0}
    assert found == pytest.approx(expected, rel=1e-5)


def test_ties_lowest_row_first_and_documents_without_the_words_are_not_found():
    scores, rows = index().search(["red", "unknown", ""], 4)
    assert rows.tolist() == [[0, 3, -1, -1], [-1] * 4, [-1] * 4]
    assert scores[0, 0] == scores[0, 1] > 0
    assert np.isneginf(scores[1:]).all()
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64


def test_a_batch_equals_single_queries(monkeypatch):
    queries = ["red fox", "blue", "jumps green", "fox"]
    one_by_one = [index().search([q], 3) for q in queries]
    monkeypatch.setattr(bm25, "SCORES_AT_ONCE", 12)  # two queries at a time
    scores, rows = index().search(queries, 3)
    np.testing.assert_array_equal(rows, np.concatenate([r for _, r in one_by_one]))
    np.testing.assert_array_equal(scores, np.concatenate([s for s, _ in one_by_one]))
    assert index().search([], 3)[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("en", "The Cats' running! x", ["cat", "run"]),
        ("de", "Die Läufer laufen", ["die", "läufer", "laufen"]),
        ("zh", "我爱北京 GPU", ["我爱", "爱北", "北京", "gp", "pu"]),
        ("auto", "GPU と東京a b", ["gpu", "と東", "東京", "京a"]),
        ("en", "tokyo 東京都", ["tokyo", "東京", "京都"]),
        ("hi", "हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("ko", "한국어 문서", ["한국어", "문서"]),
    ],
)
def test_terms(language, text, terms):
    assert analyzer(language)(text) == terms


def test_thai_vowels_do_not_cut_words():
    assert analyzer("th")("ที่นี่") == ["ที", "ี่", "่น", "นี", "ี่"]


def test_bad_input():
    with pytest.raises(InputError, match="k is 6, but there are only 5 documents"):
        index().search(["fox"], 6)
    with pytest.raises(InputError, match="at least 1"):
        index().search(["fox"], 0)
    with pytest.raises(InputError, match="corpus is empty"):
        index([])
    with pytest.raises(InputError, match="none of the 2 documents has a word"):
        index(["", "!?"])
    with pytest.raises(InputError, match="1 texts come with 2 ids"):
        BM25(["a b"], ["1", "2"], progress=False)
    with pytest.raises(InputError, match="language is 'English'"):
        index(language="English")


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("name", "language", "ndcg", "recall"),
    [
        ("cranfield", "en", 0.491, 0.739),
        ("nfcorpus", "en", 0.327, 0.255),
        ("scifact", "en", 0.676, 0.913),
        ("xquad/zh", "zh", 0.967, 0.996),
        ("xquad/de", "de", 0.916, 0.992),
    ],
)
def test_reference_figures(real_data, name, language, ndcg, recall):
    folder = real_data / name
    docs = lines(folder / "corpus.jsonl")
    texts = [f"{d.get('title', '')} {d['text']}".strip() for d in docs]
    engine = BM25(texts, [d["_id"] for d in docs], language=language, progress=False)
    qrels = {}
    for row in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, doc_id, grade = row.split("\t")
        qrels.setdefault(query_id, {})[doc_id] = int(grade)
    queries = {q["_id"]: q["text"] for q in lines(folder / "queries.jsonl") if q["_id"] in qrels}
    scores, rows = engine.search(list(queries.values()), 100)
    run = runs.from_arrays(scores, rows, list(queries), engine.ids)
    got = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.R @ 100], qrels, run)
    assert got[ir_measures.nDCG @ 10] == pytest.approx(ndcg, abs=0.005)
    assert got[ir_measures.R @ 100] == pytest.approx(recall, abs=0.005)
