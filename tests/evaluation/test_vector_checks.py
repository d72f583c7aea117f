import numpy as np
import pytest

from jaxir.evaluation import vector_checks as v

RNG = np.random.default_rng(0)
HEALTHY = RNG.normal(size=(64, 32)).astype(np.float32)
UNIT = HEALTHY / np.linalg.norm(HEALTHY, axis=1, keepdims=True)


def only(findings):
    (finding,) = findings
    assert finding.level == "ok" or finding.what_to_do
    return finding


def test_finite():
    assert only(v.finite(HEALTHY)).level == "ok"
    broken = HEALTHY.copy()
    broken[3, 4] = np.nan
    broken[5, 0] = np.inf
    assert only(v.finite(broken))[:3] == ("fail", "vectors: finite", "2 of 64 hold NaN or infinity")
    zeros = HEALTHY.copy()
    zeros[:2] = 0
    assert only(v.finite(zeros)).level == "warn"
    zeros[:20] = 0
    assert only(v.finite(zeros)).level == "fail"


def test_collapse():
    assert only(v.collapse(HEALTHY)).level == "ok"
    assert only(v.collapse(HEALTHY * 0.3 + 1)).level == "warn"
    collapsed = only(v.collapse(HEALTHY * 0.01 + 1))
    assert collapsed.level == "fail"
    assert "mean cosine between different texts 1.000" in collapsed.message


def test_mean_pairwise_cosine_by_hand():
    pairs = UNIT @ UNIT.T
    expected = pairs[~np.eye(64, dtype=bool)].mean()
    assert v.mean_pairwise_cosine(HEALTHY * 7) == pytest.approx(expected, abs=1e-6)
    assert v.mean_pairwise_cosine(HEALTHY[:1]) == 0.0


def test_dimensions():
    assert only(v.dimensions(HEALTHY)).level == "ok"
    line = np.outer(RNG.normal(size=64), np.ones(32)) + 5
    assert only(v.dimensions(line)).level == "fail"
    assert only(v.dimensions(np.ones((64, 32)))).level == "fail"
    some = HEALTHY.copy()
    some[:, :8] = 1
    finding = only(v.dimensions(some))
    assert finding.level == "warn"
    assert "8 of 32 constant" in finding.message


def test_normalisation():
    assert only(v.normalisation(UNIT, normalized=True, metric="dot")).level == "ok"
    assert only(v.normalisation(HEALTHY, normalized=False, metric="dot")).level == "ok"
    declared = only(v.normalisation(HEALTHY, normalized=True, metric="dot"))
    assert (declared.level, "declared to have length 1" in declared.message) == ("fail", True)
    assert only(v.normalisation(HEALTHY, normalized=False, metric="cosine")).level == "fail"
    wild = UNIT * np.where(np.arange(64) == 0, 1000.0, 0.1)[:, None]
    assert only(v.normalisation(wild, normalized=False, metric="dot")).level == "warn"


def test_padding_and_agreement():
    noise = RNG.normal(size=HEALTHY.shape)
    assert only(v.padding(HEALTHY, HEALTHY + 1e-6 * noise)).level == "ok"
    assert only(v.padding(HEALTHY, HEALTHY * 1.005)).level == "warn"
    assert only(v.padding(HEALTHY, HEALTHY * 1.5)).level == "fail"
    assert only(v.padding(HEALTHY, HEALTHY * np.nan)).level == "fail"
    assert only(v.agreement(UNIT, HEALTHY)).level == "ok"  # the same direction
    other = UNIT.copy()
    other[0] = -other[0]
    assert "1 of 64 differ" in only(v.agreement(UNIT, other)).message
    assert "shape" in only(v.agreement(UNIT, UNIT[:, :8])).message


def exact_search(corpus):
    def search(queries, k):
        scores = queries @ corpus.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, rows, axis=1), rows

    return search


def test_self_retrieval():
    rows = np.arange(64)
    assert only(v.self_retrieval(exact_search(UNIT), UNIT, rows)).level == "ok"
    twice = np.concatenate([UNIT, UNIT])  # the duplicate comes first, with the same score
    assert only(v.self_retrieval(exact_search(twice), UNIT, rows + 64)).level == "ok"
    assert only(v.self_retrieval(exact_search(UNIT), UNIT, rows[::-1].copy())).level == "fail"
    three = np.roll(UNIT, 1, axis=0)
    three[3:] = UNIT[3:]
    found = only(v.self_retrieval(exact_search(UNIT), three, rows))
    assert (found.level, "95.3%" in found.message) == ("warn", True)


def test_recall_against_exact():
    exact = np.arange(40).reshape(4, 10)
    assert only(v.recall_against_exact(exact[:, ::-1], exact)).level == "ok"
    nine = exact.copy()
    nine[:, 0] = -1
    found = only(v.recall_against_exact(nine, exact))
    assert (found.level, "recall@10 against exact search 0.900" in found.message) == ("warn", True)
    assert only(v.recall_against_exact(exact + 5, exact)).level == "fail"
