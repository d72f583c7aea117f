"""The running top k equals a full stable sort, ties included, for any cut into blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxir.retrieval.topk import RunningTopK


def reference(scores, k):
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def in_blocks(scores, k, block):
    top = RunningTopK(len(scores), k)
    for start in range(0, scores.shape[1], block):
        top.update(np.ascontiguousarray(scores[:, start : start + block]), start)
    return top.result()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(1, 5),
    n=st.integers(1, 400),
    k=st.integers(1, 40),
    block=st.integers(1, 400),
    values=st.sampled_from([2, 5, 10_000]),
)
def test_equals_a_stable_sort(seed, queries, n, k, block, values):
    k = min(k, n)
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, values, (queries, n)).astype(np.float32) - values // 2
    got, expected = in_blocks(scores, k, block), reference(scores, k)
    np.testing.assert_array_equal(got[1], expected[1])
    np.testing.assert_array_equal(got[0], expected[0])


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_adversarial_orders(order):
    n, k = 5000, 7
    scores = {
        "rising": np.arange(n, dtype=np.float32),
        "falling": -np.arange(n, dtype=np.float32),
        "equal": np.ones(n, np.float32),
    }[order][None]
    got, expected = in_blocks(scores, k, 64), reference(scores, k)
    np.testing.assert_array_equal(got[1], expected[1])


def test_memory_stays_small_when_everything_rises():
    top = RunningTopK(1, 5)
    for start in range(0, 20_000, 100):
        top.update(np.arange(start, start + 100, dtype=np.float32)[None], start)
        assert top._size <= 3 * 5 + 100


def test_minus_infinity_is_nothing_found():
    scores = np.full((2, 6), -np.inf, np.float32)
    scores[0, 4] = 1.0
    values, rows = in_blocks(scores, 3, 6)
    assert rows.tolist() == [[4, -1, -1], [-1, -1, -1]]
    assert values[0].tolist() == [1.0, -np.inf, -np.inf]
