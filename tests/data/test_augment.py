import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.augment import TextBatch, crop_queries, drop_tokens
from jaxir.data.ragged import Ragged


def rows_of(ragged):
    return [part.tolist() for part in np.split(ragged.flat, np.cumsum(ragged.lengths)[:-1])]


def batch(n=2, b=60, query_prefix=0, doc_prefix=0):
    """Query i holds 1, 2, 3; document j holds 1000 j, 1000 j + 1, ... of a length of its own."""
    docs = [[1000 * j + i for i in range(doc_prefix + j % 40)] for j in range(b * n)]
    queries = [list(range(1, 4 + query_prefix)) for _ in range(b)]
    return TextBatch(Ragged.of(queries), Ragged.of(docs), query_prefix, doc_prefix)


def rng():
    return np.random.default_rng(0)


def is_stretch(piece, whole):
    return any(whole[i : i + len(piece)] == piece for i in range(len(whole) - len(piece) + 1))


@pytest.mark.parametrize("prefixes", [(0, 0), (2, 3)])
def test_a_crop_is_a_stretch_of_the_positive(prefixes):
    texts = batch(query_prefix=prefixes[0], doc_prefix=prefixes[1])
    cropped = crop_queries(texts, rng(), p=1.0, min_tokens=4, max_tokens=16)
    lengths = set()
    for before, after, doc in zip(rows_of(texts.query), rows_of(cropped.query), rows_of(texts.docs)[::2]):
        assert after[: prefixes[0]] == before[: prefixes[0]]
        piece, body = after[prefixes[0] :], doc[prefixes[1] :]
        if len(body) >= 4:
            assert is_stretch(piece, body)
            assert min(4, len(body)) <= len(piece) <= 16
            lengths.add(len(piece))
    assert {4, 16} <= lengths
    assert cropped.docs is texts.docs


def test_crops_come_from_everywhere():
    docs = [list(range(20))] * 2000
    texts = TextBatch(Ragged.of([[99]] * 2000), Ragged.of(docs))
    starts = [r[0] for r in rows_of(crop_queries(texts, rng(), p=1.0, min_tokens=5, max_tokens=5).query)]
    assert set(starts) == set(range(16))


def test_share_of_cropped_queries():
    texts = batch(n=1, b=2000)
    long_enough = texts.docs.lengths >= 16
    cropped = crop_queries(texts, rng(), p=0.3)
    changed = np.array([r != [1, 2, 3] for r in rows_of(cropped.query)])
    assert abs(changed[long_enough].mean() - 0.3) < 0.04
    untouched = crop_queries(texts, rng(), p=0.0)
    assert np.array_equal(untouched.query.flat, texts.query.flat)


def test_dropping_keeps_order_prefix_and_something():
    texts = batch(doc_prefix=3)
    dropped = drop_tokens(texts, rng(), p=0.9)
    for before, after in zip(rows_of(texts.docs), rows_of(dropped.docs)):
        assert after[:3] == before[:3]
        assert set(after) <= set(before)
        assert after == sorted(after)
        assert bool(after) == bool(before)
    assert dropped.query is texts.query


def test_share_of_dropped_tokens():
    texts = batch(b=500)
    dropped = drop_tokens(texts, rng(), p=0.15)
    assert abs(1 - len(dropped.docs.flat) / len(texts.docs.flat) - 0.15) < 0.01
    same = drop_tokens(texts, rng(), p=0.0)
    assert np.array_equal(same.docs.flat, texts.docs.flat)


@pytest.mark.parametrize("change", [crop_queries, drop_tokens])
def test_equal_rng_equal_texts(change):
    one, two = (change(batch(), rng()) for _ in range(2))
    for a, b in zip((*one.query, *one.docs), (*two.query, *two.docs)):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (crop_queries, {"p": 1.5}),
        (crop_queries, {"min_tokens": 0}),
        (crop_queries, {"min_tokens": 9, "max_tokens": 8}),
        (drop_tokens, {"p": -0.1}),
    ],
)
def test_options_that_make_no_sense(change, options):
    with pytest.raises(InputError):
        change(batch(), rng(), **options)
