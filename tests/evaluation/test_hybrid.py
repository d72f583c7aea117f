import numpy as np
import pytest

from jaxir.evaluation import hybrid
from jaxir.evaluation.measures import evaluate

DENSE = {"q1": {"a": 3.0, "b": 2.0, "x": 1.0}, "q2": {"c": 3.0, "x": 2.9, "d": 1.0}}
BM25 = {"q1": {"b": 9.0, "x": 8.0, "a": 1.0}, "q2": {"d": 9.0, "x": 8.0, "c": 1.0}}


def test_the_better_run_gets_all_the_weight():
    assert hybrid.choose(DENSE, BM25, {"q1": {"a": 1}, "q2": {"c": 1}}).weight > 0.5
    assert hybrid.choose(DENSE, BM25, {"q1": {"b": 1}, "q2": {"d": 1}}).weight < 0.5


def test_the_value_is_that_of_the_fused_run():
    qrels = {"q1": {"b": 1}, "q2": {"x": 1}}
    chosen = hybrid.choose(DENSE, BM25, qrels)
    fused = chosen.fuse(DENSE, BM25)
    assert evaluate(fused, qrels, "MRR@10")["MRR@10"] == chosen.value == 1.0
    assert "on 2 development queries" in chosen.chosen


def test_both_normalisations_are_tried():
    """One outlier: min-max presses the others together, the z-score less."""
    tried = {name: fuse([DENSE, BM25], [0.5, 0.5])["q1"]["b"] for name, fuse in hybrid.METHODS.items()}
    assert tried["min-max"] != pytest.approx(tried["z-score"])


def test_fuse_cuts_at_the_depth():
    assert [len(docs) for docs in hybrid.FIXED.fuse(DENSE, BM25, depth=2).values()] == [2, 2]
    assert "0.5 dense + 0.5 BM25, fixed" in str(hybrid.FIXED)


@pytest.mark.parametrize("name", hybrid.METHODS)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_the_mixer_is_the_fusion(name, weight):
    rng = np.random.default_rng(0)
    ids = np.array([f"d{i}" for i in range(60)])

    def run():
        return {
            f"q{q}": dict(zip(rng.permutation(ids)[:20].tolist(), -np.sort(-rng.random(20))))
            for q in range(8)
        }

    first, second = run(), run()
    second["q7"] = {}
    fuse = hybrid.METHODS[name]
    expected = fuse([first, second], [weight, 1 - weight])
    mixed = hybrid.mixer(fuse, first, second)([first, second], [weight, 1 - weight])
    for query_id, docs in expected.items():
        assert mixed[query_id] == pytest.approx(docs)
    if weight not in (0.0, 1.0):  # there most scores are equal
        assert {q: list(docs) for q, docs in mixed.items()} == {q: list(docs) for q, docs in expected.items()}
