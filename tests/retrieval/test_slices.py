import numpy as np
import pytest
from scipy.sparse import csr_array

from jaxir.checks import InputError
from jaxir.retrieval import index, vectors
from jaxir.retrieval.slices import densify, gip, rescore, search

RNG = np.random.default_rng(0)


def sparse(n, v=60, share=0.3):
    # Few distinct weights: ties in every slot.
    return np.where(RNG.random((n, v)) < share, RNG.integers(1, 4, (n, v)), 0).astype(np.float32)


QUERIES, DOCS = sparse(4), sparse(40)


def by_hand(rows, slots, drop):
    values, numbers = np.zeros((len(rows), slots)), np.zeros((len(rows), slots))
    for i, row in enumerate(rows):
        for v in range(drop, len(row)):
            slot = (v - drop) % slots
            if row[v] > values[i, slot]:
                values[i, slot], numbers[i, slot] = row[v], (v - drop) // slots
    return values, numbers


@pytest.mark.parametrize(("slots", "drop"), [(12, 0), (7, 5), (1, 59)])
def test_densify_and_gip_are_their_definitions(slots, drop):
    q, d = densify(csr_array(QUERIES), slots, drop), densify(DOCS, slots, drop)
    for got, rows in ((q, QUERIES), (d, DOCS)):
        values, numbers = by_hand(rows, slots, drop)
        np.testing.assert_array_equal(got.values, values)
        np.testing.assert_array_equal(got.numbers, numbers)
    gates = q.numbers[:, None] == d.numbers[None]
    np.testing.assert_array_equal(gip(q, d), np.sum(q.values[:, None] * d.values[None] * gates, axis=-1))


def test_the_order_of_a_row_does_not_matter():
    # Weights 2 and 2 of the entries 9 and 1, which share slot 1 of 4.
    shuffled = csr_array((np.array([2.0, 2.0, 1.0]), np.array([9, 1, 3]), np.array([0, 3])), shape=(1, 12))
    found = densify(shuffled, 4)
    assert found.values.tolist() == [[0, 2, 0, 1]]
    assert found.numbers.tolist() == [[0, 0, 0, 0]]
    assert shuffled.indices.tolist() == [9, 1, 3]


def test_what_slicing_loses():
    q, d = densify(QUERIES, 12), densify(DOCS, 12)
    products = QUERIES @ DOCS.T
    assert (gip(q, d) <= products).all()
    assert (gip(q, d) <= q.values @ d.values.T).all()
    assert (gip(q, d) < products).any()
    np.testing.assert_array_equal(np.diag(gip(d, d)), np.sum(d.values**2, axis=1))
    # With one entry per slot nothing is lost.
    once = np.where(RNG.random((6, 60)) < 0.5, DOCS[:6] + 1, 0)
    once[:, 12:] = 0
    shifted = np.roll(once, 24, axis=1)
    for rows in (once, shifted):
        np.testing.assert_array_equal(gip(densify(rows, 12), densify(once, 12)), rows @ once.T)


def test_scann_proposes_and_gip_decides(tmp_path):
    q, d = densify(QUERIES, 12), densify(DOCS, 12)
    vectors.write(tmp_path / "vectors", d.values, [f"d{i}" for i in range(40)])
    index.build(tmp_path / "vectors", tmp_path / "index", kind="scann", progress=False)
    opened = index.open(tmp_path / "index")
    scores, rows = search(opened.search, q, d, 5, candidates=40)
    exact = gip(q, d)
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1, kind="stable")[:, :5])
    np.testing.assert_array_equal(scores, np.take_along_axis(exact, rows, axis=1))
    assert rescore(q, d, np.array([[3, -1]] * 4))[:, 1].tolist() == [-np.inf] * 4
    with pytest.raises(InputError, match="4 candidates cannot give 5"):
        search(opened.search, q, d, 5, candidates=4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: densify(DOCS, 61), "slots=61"),
        (lambda: densify(DOCS, 4, drop=60), "drop=60"),
        (lambda: densify(-DOCS, 4), "negative"),
        (lambda: gip(densify(QUERIES, 4), densify(DOCS, 5)), "sliced differently"),
    ],
)
def test_what_cannot_be_sliced_is_said(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
