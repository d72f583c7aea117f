"""Fusion: values by hand, and what holds for every method."""

import math

import pytest

from jaxir.checks import InputError
from jaxir.retrieval import fusion

A = {"q": {"a": 10.0, "b": 6.0, "c": 2.0}}
B = {"q": {"c": 0.9, "d": 0.4}}
METHODS = [fusion.weighted_min_max, fusion.weighted_z_score, fusion.reciprocal_rank]


def test_min_max_by_hand():
    fused = fusion.weighted_min_max([A, B], [0.7, 0.3])["q"]
    expected = {"a": 0.7, "b": 0.35, "c": 0.3, "d": 0.0}
    assert fused == pytest.approx(expected)
    assert list(fused) == ["a", "b", "c", "d"]


def test_z_score_by_hand():
    fused = fusion.weighted_z_score([A, B], [1.0, 2.0])["q"]
    z = 4 / math.sqrt(32 / 3)  # population standard deviation of 10, 6, 2
    # An absent document gets the run's lowest: -1 in B, -z in A.
    assert fused == pytest.approx({"a": z - 2, "b": -2, "c": -z + 2, "d": -z - 2})


def test_reciprocal_rank_by_hand():
    fused = fusion.reciprocal_rank([A, B])["q"]
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 62})
    weighted = fusion.reciprocal_rank([A, B], [0.0, 1.0], k=1)["q"]
    assert weighted == pytest.approx({"c": 1 / 2, "d": 1 / 3, "a": 0, "b": 0})


@pytest.mark.parametrize("method", METHODS)
def test_one_run_keeps_its_order(method):
    assert list(method([A], [1.0])["q"]) == list(A["q"])


@pytest.mark.parametrize("method", METHODS)
def test_weight_zero_leaves_the_other_runs_order(method):
    fused = method([A, B], [0.0, 1.0])["q"]
    assert next(iter(fused)) == "c"
    assert fused["d"] >= fused["a"] == fused["b"]


@pytest.mark.parametrize("method", [fusion.weighted_min_max, fusion.weighted_z_score])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e9])
def test_a_constant_run_adds_nothing(method, value):
    constant = {"q": dict.fromkeys("abcxyz", value)}
    alone, both = method([A], [1.0])["q"], method([A, constant], [1.0, 1.0])["q"]
    assert {d: both[d] for d in "abc"} == pytest.approx(alone)


@pytest.mark.parametrize("method", [fusion.weighted_min_max, fusion.weighted_z_score])
def test_invariant_to_scale_and_shift(method):
    moved = {"q": {d: 3 * s - 7 for d, s in A["q"].items()}}
    assert method([moved, B], [1.0, 1.0])["q"] == pytest.approx(method([A, B], [1.0, 1.0])["q"])


@pytest.mark.parametrize("method", METHODS)
def test_queries_in_one_run_only(method):
    fused = method([A, {"r": {"x": 1.0, "y": 0.5}, "empty": {}}], [1.0, 1.0])
    assert list(fused) == ["q", "r", "empty"]
    assert list(fused["q"]) == ["a", "b", "c"]
    assert list(fused["r"]) == ["x", "y"]
    assert fused["empty"] == {}


@pytest.mark.parametrize("method", METHODS)
def test_bad_input(method):
    with pytest.raises(InputError, match="2 runs come with 1 weights"):
        method([A, B], [1.0])
    with pytest.raises(InputError, match="0 or above"):
        method([A, B], [1.0, -0.5])
    with pytest.raises(InputError, match="run 2 has a score that is no number for 'q'"):
        method([A, {"q": {"a": float("nan")}}], [1.0, 1.0])


def test_best_weight_on_development_queries():
    qrels = {"q": {"c": 1}}

    def first_is_relevant(run, qrels):
        return float(next(iter(run["q"])) in qrels["q"])

    best = fusion.best_weight([A, B], qrels, [0.0, 0.25, 0.75, 1.0], first_is_relevant)
    assert best.curve == {0.0: 1.0, 0.25: 1.0, 0.75: 0.0, 1.0: 0.0}
    assert (best.weight, best.value) == (0.25, 1.0)  # of equal ones the nearest to 0.5
    with pytest.raises(InputError, match="between 0 and 1"):
        fusion.best_weight([A, B], qrels, [1.5], first_is_relevant)
    with pytest.raises(InputError, match="3 were given"):
        fusion.best_weight([A, B, A], qrels, [0.5], first_is_relevant)
