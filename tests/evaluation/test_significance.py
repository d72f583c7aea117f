import itertools
import math

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.evaluation import significance as s


@pytest.mark.parametrize("n", [1, 2, 6, 20])
def test_equal_differences_have_a_closed_form(n):
    assert s.randomisation_test(np.full(n, 0.1)) == 2 / 2**n
    assert s.randomisation_test(np.full(n, -0.1)) == 2 / 2**n


def test_one_against_many_has_a_closed_form():
    """k of n ones are negative: patterns with at most k or at least n - k minuses reach the sum."""
    n, k = 12, 3
    d = np.where(np.arange(n) < k, -1.0, 1.0)
    expected = 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert s.randomisation_test(d) == pytest.approx(expected)


def test_exact_equals_enumeration_by_hand():
    d = np.array([0.3, -0.1, 0.25, 0.0, 0.5, 0.05, -0.2])
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=len(d))]
    expected = np.mean([x >= abs(d.sum()) - 1e-12 for x in sums])
    assert s.randomisation_test(d) == pytest.approx(expected)


def test_drawn_agrees_with_exact_and_is_reproducible():
    d = np.random.default_rng(1).normal(0.2, 0.5, 18)
    exact = s.randomisation_test(d)
    drawn = s.randomisation_test(d, exact_up_to=0, seed=3)
    assert drawn == s.randomisation_test(d, exact_up_to=0, seed=3)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 100_000))


def test_drawn_agrees_with_the_binomial_for_many_queries():
    n, k = 400, 180
    d = np.where(np.arange(n) < k, -0.5, 0.5)
    expected = 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    got = s.randomisation_test(d, samples=50_000)
    assert got == pytest.approx(expected, abs=4 * math.sqrt(expected / 50_000))


def test_never_zero_and_never_above_one():
    assert s.randomisation_test(np.ones(100), samples=999) == 1 / 1000
    assert s.randomisation_test(np.zeros(5)) == 1.0
    assert s.randomisation_test(np.tile([1.0, -1.0], 50), samples=999) == 1.0


def test_false_alarms_come_at_their_rate():
    rng = np.random.default_rng(0)
    p = [s.randomisation_test(rng.normal(size=10)) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_the_bootstrap_matches_the_normal_interval():
    d = np.random.default_rng(0).normal(0.1, 1.0, 500)
    low, high = s.bootstrap_interval(d)
    half = 1.96 * d.std() / math.sqrt(len(d))
    assert low == pytest.approx(d.mean() - half, abs=0.01)
    assert high == pytest.approx(d.mean() + half, abs=0.01)
    narrow = s.bootstrap_interval(d, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_holm_and_bonferroni_by_hand():
    p = [0.02, 0.001, 0.3, 0.04]
    assert s.adjust(p) == pytest.approx([0.06, 0.004, 0.3, 0.08])
    assert s.adjust(p, "bonferroni") == pytest.approx([0.08, 0.004, 1.0, 0.16])
    assert s.adjust(p, "none") == p
    assert s.adjust([]) == []
    assert s.adjust([0.9, 0.8]) == [1.0, 1.0]


def test_compare():
    a = {"q1": 1.0, "q2": 0.5, "q3": 0.0, "q4": 0.2}
    b = {"q4": 0.2, "q1": 0.5, "q2": 0.25, "q3": 0.1}
    c = s.compare(a, b)
    assert c.difference == pytest.approx(0.1625)
    assert (c.wins, c.ties, c.losses) == (2, 1, 1)
    assert c.p == 0.5  # of 8 patterns +++ and its like: sums 0.65, 0.85 reach 0.65
    assert c.low < c.difference < c.high
    mirrored = s.compare(b, a)
    assert (mirrored.difference, mirrored.p) == pytest.approx((-c.difference, c.p))


def test_bad_input():
    with pytest.raises(InputError, match="'q2' is in one of them only"):
        s.compare({"q1": 1.0}, {"q1": 1.0, "q2": 0.0})
    with pytest.raises(InputError, match="no queries"):
        s.compare({}, {})
    with pytest.raises(InputError, match="NaN"):
        s.randomisation_test(np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="level is 95"):
        s.bootstrap_interval(np.ones(3), level=95.0)
