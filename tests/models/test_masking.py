"""Which tokens are hidden: whole words, at the rate, never special ones; the same whatever stands around."""

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.masking import Masking, check_rate, check_replaced

V, MASK, SPECIAL, CONTINUES = 200, 4, (0, 1, 2, 3, 4), tuple(range(120, 200))
RATE, N, L = 0.3, 600, 14


@pytest.fixture(scope="module")
def drawn():
    """600 texts [CLS] words [SEP], and the same ones with padding on both sides that holds anything."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, L - 1, N)
    column = np.arange(L)
    ids = rng.integers(5, V, (N, L)).astype(np.int32)
    ids[:, 0] = 2
    ids[np.arange(N), lengths + 1] = 3
    mask = column <= lengths[:, None] + 1
    ids = np.where(mask, ids, 0).astype(np.int32)
    wide = np.full((N, L + 3), np.iinfo(np.int32).max, np.int32)
    real = np.zeros(wide.shape, bool)
    wide[:, 2:-1], real[:, 2:-1] = np.where(mask, ids, -7), mask
    always = Masking(V, MASK, SPECIAL, CONTINUES, (1.0, 0.0))

    @jax.jit
    def draw(texts, padded, key):
        usual = always._replace(replaced=(0.8, 0.1))(*texts, key, RATE)
        return always(*texts, key, RATE), usual, always(*padded, key, RATE)

    return ids, mask, lengths, *jax.device_get(draw((ids, mask), (wide, real), jax.random.key(3)))


def test_whole_words_and_nothing_else_are_hidden_at_the_rate(drawn):
    ids, mask, lengths, masked, _, _ = drawn
    hidden = masked.ids == MASK
    ordinary = mask & (ids > 4)
    assert not hidden[~ordinary].any()
    np.testing.assert_array_equal(np.where(hidden, ids, masked.ids), ids)
    inside = np.isin(ids, CONTINUES)
    inside[:, :2] = False  # what follows [CLS] begins a word
    pair = inside[:, 1:] & ordinary[:, 1:]
    np.testing.assert_array_equal(hidden[:, 1:][pair], hidden[:, :-1][pair])
    assert 0 < hidden[:, 1:][pair].mean() < 1
    # The expectation is exact; a text's number spreads by a word or two.
    assert abs(hidden.sum() / lengths.sum() - RATE) < 0.02
    short = lengths <= 3
    assert abs(hidden[short].sum() / lengths[short].sum() - RATE) < 0.1


def test_at_most_the_budget_is_predicted_and_labels_are_what_stood_there(drawn):
    ids, _, lengths, masked, _, _ = drawn
    hidden = masked.ids == MASK
    predicted = masked.where.sum(axis=1)
    assert masked.at.shape == (N, int(np.ceil(RATE * L)))
    np.testing.assert_array_equal(predicted, np.minimum(hidden.sum(axis=1), np.ceil(RATE * lengths - 1e-4)))
    for row in range(N):
        at = masked.at[row][masked.where[row]]
        assert len(set(at)) == len(at)
        assert hidden[row, at].all()
        np.testing.assert_array_equal(masked.labels[row][masked.where[row]], ids[row, at])


def test_eight_of_ten_become_the_mask_token_and_one_another(drawn):
    ids, _, _, masked, usual, _ = drawn
    before, after = ids[masked.ids == MASK], usual.ids[masked.ids == MASK]
    assert abs((after == MASK).mean() - 0.8) < 0.04
    assert abs((after == before).mean() - 0.1) < 0.03
    assert not np.isin(after[after != MASK], SPECIAL).any()
    np.testing.assert_array_equal(usual.at, masked.at)


def test_padding_changes_nothing(drawn):
    _, mask, _, masked, _, padded = drawn
    np.testing.assert_array_equal(padded.ids[:, 2:-1][mask], masked.ids[mask])
    most = masked.at.shape[1]
    np.testing.assert_array_equal(padded.where[:, :most], masked.where)
    np.testing.assert_array_equal(padded.at[:, :most][masked.where], masked.at[masked.where] + 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_rate("mask", 1.0), "mask is 1.0"),
        (lambda: check_replaced((0.9, 0.2)), "of 1 together"),
        (lambda: check_replaced((0.9,)), "two shares"),
    ],
)
def test_shares_that_make_no_sense(call, message):
    with pytest.raises(InputError, match=message):
        call()
