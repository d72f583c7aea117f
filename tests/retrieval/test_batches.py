"""The plan of batches: everything once, few shapes, little padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxir.checks import InputError
from jaxir.retrieval.batches import plan


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 300), max_size=400),
    budget=st.sampled_from([16, 100, 1024, 10_000]),
)
def test_every_text_once_and_inside_its_batch(lengths, budget):
    lengths = np.array(lengths, np.int64)
    batches = plan(lengths, tokens_per_batch=budget)
    texts = np.concatenate([b.texts for b in batches]) if batches else np.zeros(0, int)
    assert sorted(texts.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert 0 < len(batch.texts) <= batch.size
        assert lengths[batch.texts].max() <= batch.length
        assert batch.size == 1 or batch.size * batch.length <= budget


def test_one_shape_per_step_and_little_padding():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4, 0.7, 30_000).astype(int), 3, 512)
    batches = plan(lengths, tokens_per_batch=16_384, max_length=512)
    shapes = {(b.length, b.size) for b in batches}
    assert len(shapes) <= 10
    assert len({length for length, _ in shapes}) == len(shapes)
    padded = sum(b.length * b.size for b in batches)
    assert lengths.sum() / padded > 0.8
    assert batches[0].length == 512  # the longest first


def test_a_few_texts_do_not_pay_for_a_full_batch():
    (batch,) = plan(np.full(5, 9), tokens_per_batch=16_384)
    assert (batch.length, batch.size) == (16, 8)
    (one,) = plan(np.array([9]), tokens_per_batch=16_384)
    assert (one.length, one.size) == (16, 1)


def test_no_step_exceeds_the_encoder():
    assert [b.length for b in plan(np.array([40, 10]), tokens_per_batch=64, max_length=40)] == [40, 16]


def test_texts_longer_than_a_batch_go_alone():
    assert [b.size for b in plan(np.array([600, 600]), tokens_per_batch=100)] == [1, 1]


def test_bad_budget():
    with pytest.raises(InputError, match="tokens_per_batch is 0"):
        plan(np.array([1]), tokens_per_batch=0)
