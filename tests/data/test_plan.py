import collections

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.plan import Plan


def test_every_epoch_has_every_example_once_in_another_order():
    plan = Plan([12], [1.0], 4, seed=3)
    epochs = [np.concatenate([plan[3 * e + i].number for i in range(3)]) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(12))
    assert len({tuple(e) for e in epochs}) == 3


def test_batches_are_full_across_the_end_of_an_epoch():
    plan = Plan([5], [1.0], 4, seed=0)
    numbers = np.concatenate([plan[i].number for i in range(5)])  # four epochs
    assert collections.Counter(numbers.tolist()) == dict.fromkeys(range(5), 4)
    assert sorted(numbers[:5]) == list(range(5))


def test_a_step_does_not_depend_on_what_was_read_before():
    one, two = (Plan([50, 7], [0.6, 0.4], 8, seed=1) for _ in range(2))
    forwards = [one[i] for i in range(30)]
    for i in (29, 3, 17):
        again = two[i]
        assert np.array_equal(again.source, forwards[i].source)
        assert np.array_equal(again.number, forwards[i].number)


def test_another_seed_is_another_order():
    first, second = (Plan([100], [1.0], 100, seed=s)[0].number for s in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("same_source", [False, True])
def test_weights_are_kept(same_source):
    weights = [5.0, 3.0, 2.0]
    plan = Plan([30, 20, 10], weights, 10, seed=0, same_source=same_source)
    drawn = [plan[i] for i in range(100)]
    counts = np.bincount(np.concatenate([d.source for d in drawn]))
    assert counts.tolist() == [500, 300, 200]
    if same_source:
        assert all(len(set(d.source.tolist())) == 1 for d in drawn)
    else:  # evenly spread: every batch has its share
        for d in drawn:
            assert np.abs(np.bincount(d.source, minlength=3) - weights).max() <= 1
    # Within a data set, no example comes a third time before all have come twice.
    for s, size in enumerate((30, 20, 10)):
        numbers = np.concatenate([d.number[d.source == s] for d in drawn])
        assert collections.Counter(numbers[: 2 * size].tolist()) == dict.fromkeys(range(size), 2)


def test_small_weights_are_not_forgotten():
    plan = Plan([10, 10], [1.0, 1e-6], 100, seed=0)
    assert any((plan[i].source == 1).any() for i in range(11))


@pytest.mark.parametrize(
    ("sizes", "weights", "batch_size", "seed", "text"),
    [
        ([4], [1.0], 0, 0, "batch_size"),
        ([4, 0], [1.0, 1.0], 2, 0, "at least one example"),
        ([4, 4], [1.0, 0.0], 2, 0, "weights"),
        ([4], [1.0], 2, -1, "seed"),
    ],
)
def test_mistakes(sizes, weights, batch_size, seed, text):
    with pytest.raises(InputError, match=text):
        Plan(sizes, weights, batch_size, seed)
