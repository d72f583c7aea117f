import numpy as np
import pytest

from jaxir.evaluation import text_checks as t


def only(findings):
    (finding,) = findings
    assert finding.level == "ok" or finding.what_to_do
    return finding


def test_prefixes():
    declared = {"query": "query: ", "doc": ""}
    query, doc = t.prefixes(declared, {"query": "", "doc": ""})
    assert (query.level, doc.level) == ("fail", "ok")
    assert query.message == "the model was trained with 'query: ', the texts were encoded with ''"
    assert [f.level for f in t.prefixes({}, {"doc": ""})] == ["ok"]


@pytest.mark.parametrize(
    ("size", "rows", "level"),
    [(8000, 8000, "ok"), (8000, 8064, "ok"), (8000, 7999, "fail"), (8000, 30522, "warn")],
)
def test_vocabulary(size, rows, level):
    assert only(t.vocabulary(size, rows)).level == level


def test_unknown_tokens():
    texts = [np.arange(2, 12), np.array([1, 1, 5])]
    assert only(t.unknown_tokens(texts, None)).level == "ok"
    assert only(t.unknown_tokens(texts, 99)).level == "ok"
    found = only(t.unknown_tokens(texts, 1))
    assert (found.level, found.message) == ("warn", "15.4% of 13 tokens unknown")
    assert only(t.unknown_tokens(texts[1:], 1)).level == "fail"
    assert "no token at all" in only(t.unknown_tokens([np.zeros(0, np.int32)], 1)).message


def test_truncation():
    assert only(t.truncation([10, 20, 128], 128, "documents")).level == "ok"
    found = only(t.truncation([10, 200, 300], 128, "documents"))
    assert found.level == "warn"
    assert found.message == "67% of texts are cut at 128 tokens (longest 300)"


QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"b": 1}}


def test_qrels_targets():
    assert only(t.qrels_targets(QRELS, ["q1", "q2"], ["a", "b"])).level == "ok"  # c is grade 0
    assert "such as 'a'" in only(t.qrels_targets(QRELS, ["q1", "q2"], ["b"])).message
    missing = only(t.qrels_targets(QRELS, ["q1"], ["a", "b"]))
    assert (missing.level, "'q2'" in missing.message) == ("fail", True)
    hopeless = only(t.qrels_targets({**QRELS, "q3": {"a": 0}}, ["q1", "q2", "q3"], ["a", "b"]))
    assert (hopeless.level, "no relevant document" in hopeless.message) == ("warn", True)
    many = {f"q{i}": {"a": 1} for i in range(40)} | {"q1": {"lost": 1}}
    assert only(t.qrels_targets(many, many.keys(), ["a"])).level == "warn"


def test_the_oracle_scores_one():
    assert only(t.oracle(QRELS))[:3] == (
        "ok",
        "oracle",
        "the perfect run has 1 on MRR@10, nDCG@10, R@100",
    )


def test_an_oracle_below_one_says_why():
    many = {"q": {f"d{i}": 1 for i in range(20)}, "p": {"d0": 1}}
    found = only(t.oracle(many, "R@10"))
    assert (found.level, found.message) == (
        "warn",
        "the perfect run has R@10 0.7500: 1 queries have more than 10 relevant documents",
    )
    assert only(t.oracle(many, "nDCG@10")).level == "ok"
    hopeless = only(t.oracle({**QRELS, "q3": {"a": 0}}, "nDCG@10"))
    assert (hopeless.level, "'q3'" in hopeless.message) == ("fail", True)
    assert [f.level for f in t.oracle(QRELS, "R@10", doc_ids=["b"])] == ["fail"]
    nowhere = only(t.oracle(QRELS, "R@10", doc_ids=["x"]))
    assert (nowhere.level, "no query" in nowhere.message) == ("fail", True)


def test_fingerprints():
    assert only(t.fingerprints({"model": "a1", "index": "a1"})).level == "ok"
    assert only(t.fingerprints({"model": "a1", "index": None})).level == "ok"
    found = only(t.fingerprints({"model": "a1", "index": "b2"}))
    assert (found.level, found.message) == ("fail", "not of one model: model a1, index b2")
