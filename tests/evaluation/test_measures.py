import math

import pytest

from jaxir.checks import InputError
from jaxir.evaluation import measures

QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"x": 1}, "q3": {"y": 1}}
RUN = {
    "q1": {"c": 9.0, "b": 8.0, "z": 7.0, "a": 6.0},
    "q2": {"n": 2.0, "x": 1.0},
    "unjudged": {"a": 1.0},
}


def test_values_written_out():
    ndcg_q1 = (1 / math.log2(3) + 2 / math.log2(5)) / (2 + 1 / math.log2(3))
    got = measures.per_query(RUN, QRELS, "nDCG@10 MRR@10 R@2 P(rel=2)@5 RR AP Success@1")
    expected = {
        "nDCG@10": {"q1": ndcg_q1, "q2": 1 / math.log2(3), "q3": 0},
        "MRR@10": {"q1": 0.5, "q2": 0.5, "q3": 0},
        "R@2": {"q1": 0.5, "q2": 1, "q3": 0},
        "P(rel=2)@5": {"q1": 0.2, "q2": 0, "q3": 0},
        "RR": {"q1": 0.5, "q2": 0.5, "q3": 0},
        "AP": {"q1": (1 / 2 + 2 / 4) / 2, "q2": 0.5, "q3": 0},
        "Success@1": {"q1": 0, "q2": 0, "q3": 0},
    }
    assert list(got) == list(expected)  # the user's spelling and order
    for name, values in expected.items():
        assert got[name] == pytest.approx(values), name


def test_the_mean_is_over_judged_queries():
    measured = measures.measure(RUN, QRELS, ["MRR@10"])
    assert measured.mean["MRR@10"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert (measured.judged, measured.unanswered, measured.unjudged) == (3, 1, 1)
    assert "1 of 3 judged queries have no result" in measured.notes[0]
    assert "1 queries of the run have no judgements" in measured.notes[1]


def test_exponential_gains():
    run = {"q1": {"b": 2.0, "a": 1.0}}
    qrels = {"q1": {"a": 2, "b": 1, "bad": -1}}
    got = measures.evaluate(run, qrels, "nDCG(dcg='exp-log2')@10 nDCG@10 nDCG(gains={2:3})@10")
    by_hand = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert got["nDCG(dcg='exp-log2')@10"] == pytest.approx(by_hand)
    assert got["nDCG(gains={2:3})@10"] == pytest.approx(by_hand)
    assert got["nDCG@10"] == pytest.approx((1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3)))


@pytest.mark.parametrize("order", [("a", "m", "z"), ("z", "m", "a")])
@pytest.mark.parametrize("gap", [0.0, 1e-9])
@pytest.mark.parametrize("name", ["MRR@10", "RR", "nDCG@1", "P@1", "AP", "Success@1", "R@1"])
def test_equal_scores_keep_the_order_of_the_run(order, gap, name):
    """trec_eval sorts them by id downwards, the MS MARCO script upwards; float32 hides 1e-9."""
    run = {"q": {doc: 1.0 - i * gap for i, doc in enumerate(order)}}
    assert measures.evaluate(run, {"q": {order[0]: 1}}, name)[name] == pytest.approx(1)
    last = measures.evaluate(run, {"q": {order[2]: 1}}, name)[name]
    assert last == pytest.approx(1 / 3 if name in ("MRR@10", "RR", "AP") else 0)


def test_the_perfect_run_scores_one():
    qrels = {"q1": {"a": 3, "b": 1, "ü": 2, "n": 0}, "q2": {"x": 1}}
    run = {q: {d: float(g) for d, g in docs.items()} for q, docs in qrels.items()}
    got = measures.evaluate(run, qrels, "nDCG@10 MRR@10 R@100 nDCG AP")
    assert got == pytest.approx(dict.fromkeys(got, 1.0))


def test_a_cutoff_below_the_runs_depth_is_told():
    assert any("at most 4 documents" in n for n in measures.measure(RUN, QRELS, "R@100").notes)
    assert not any("at most" in n for n in measures.measure(RUN, QRELS, "R@4").notes)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("ndcg@10", "Did you mean 'nDCG'"),
        ("Sucess@5", "Did you mean 'Success'"),
        ("zzzz@10", "unknown measure 'zzzz@10'"),
        ("nDCG@0", "cutoff 0"),
        ("AP@0", "cutoff 0"),
        ("nDCG@1.5", "whole number"),
        ("P", "P@10"),
        ("nDCG@ten", "cannot read"),
        ("P(colour=2)@5", "'colour'"),
        ("IPrec", "recall=missing"),
        ("__import__('os')", "cannot read"),
        ("", "no measure"),
        ([], "no measure"),
    ],
)
def test_measures_that_cannot_be(given, sentence):
    with pytest.raises(InputError) as caught:
        measures.evaluate(RUN, QRELS, given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_measure_of_another_package_says_which():
    with pytest.raises(InputError, match=r"no installed provider computes 'ERR@10'"):
        measures.parse("ERR@10")


def test_bad_runs_and_qrels():
    with pytest.raises(InputError, match="no query of the run is judged"):
        measures.evaluate({"other": {"a": 1.0}}, QRELS, "RR")
    with pytest.raises(InputError, match="no query of the run is judged"):
        measures.evaluate({}, QRELS, "RR")
    with pytest.raises(InputError, match="qrels are empty"):
        measures.evaluate(RUN, {}, "RR")
    with pytest.raises(InputError, match="'q1' has a document whose score is NaN"):
        measures.evaluate({"q1": {"a": math.nan}}, QRELS, "RR")


def test_ties_agree_with_trec_eval_when_there_are_none():
    """Our ranks as scores give what trec_eval gives for the scores themselves."""
    import ir_measures
    import numpy as np

    rng = np.random.default_rng(0)
    docs = [f"d{i}" for i in range(40)]
    qrels = {f"q{i}": {d: int(rng.integers(0, 4)) for d in docs[:15]} for i in range(20)}
    run = {q: dict(zip(docs, rng.normal(size=40).tolist())) for q in qrels}
    for name in ("nDCG@10", "RR@10", "R@20", "AP", "P(rel=2)@5", "Bpref"):
        parsed = ir_measures.parse_measure(name)
        direct = ir_measures.calc_aggregate([parsed], qrels, run)[parsed]
        assert measures.evaluate(run, qrels, name)[name] == pytest.approx(direct), name


def test_several_runs_share_their_notes():
    scores = measures.measure_runs({"x": RUN, "y": RUN}, QRELS, "MRR@10")
    assert scores.figures["x"] == scores.figures["y"] == measures.evaluate(RUN, QRELS, "MRR@10")
    assert scores.per_query["y"]["MRR@10"]["q1"] == 0.5
    assert scores.notes[0].startswith("x, y: 1 of 3 judged queries")
    with pytest.raises(InputError, match="run y: no query of the run is judged"):
        measures.measure_runs({"x": RUN, "y": {}}, QRELS)
    with pytest.raises(InputError, match="unknown measure"):
        measures.measure_runs({"x": RUN}, QRELS, "zzzz@3")
