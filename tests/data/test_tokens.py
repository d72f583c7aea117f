import concurrent.futures

import numpy as np
import pytest

from jaxir.data.tokens import TokenStore


class Texts:
    """Row i has the tokens i, i, ..., i % 5 of them; counts how often each row is tokenised."""

    def __init__(self):
        self.asked = []

    def __call__(self, rows):
        self.asked += rows
        return [np.full(row % 5, row, np.int32) for row in rows]


def check(store, rows):
    ragged = store.take(np.array(rows, np.int64))
    assert ragged.flat.dtype == np.int32
    assert ragged.lengths.tolist() == [row % 5 for row in rows]
    assert ragged.flat.tolist() == [row for row in rows for _ in range(row % 5)]


@pytest.mark.parametrize("vocab", [100, 100_000])
def test_every_text_is_tokenised_once(vocab):
    texts = Texts()
    store = TokenStore(texts, 30, 4, vocab)
    check(store, [3, 7, 3, 0])
    check(store, [7, 29, 0])
    check(store, [3, 3])
    check(store, [])
    assert sorted(texts.asked) == [0, 3, 7, 29]


@pytest.mark.parametrize("budget", [0, 10, 30])
def test_what_does_not_fit_is_tokenised_again(budget):
    texts = Texts()
    store = TokenStore(texts, 30, 4, 100, budget=budget)
    for _ in range(2):
        check(store, list(range(30)))
        check(store, [29, 4, 4, 0])
    assert len(texts.asked) > 50 - budget
    assert len(set(texts.asked)) == 30


def test_many_threads():
    texts = Texts()
    store = TokenStore(texts, 400, 4, 1000)
    orders = [np.random.default_rng(i).integers(0, 400, 50).tolist() for i in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda rows: check(store, rows), orders))
    assert len(texts.asked) == len(set(texts.asked))
