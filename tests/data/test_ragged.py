import hypothesis
import hypothesis.strategies as st
import numpy as np

from jaxir.data.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=6)


def rows_of(ragged):
    return [part.tolist() for part in np.split(ragged.flat, np.cumsum(ragged.lengths)[:-1])]


@hypothesis.given(ROWS, st.data())
def test_take_is_list_indexing(rows, data):
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    taken = Ragged.of(rows).take(wanted)
    expected = [rows[i] for i in wanted]
    assert taken.lengths.tolist() == [len(r) for r in expected]
    assert taken.flat.tolist() == [value for row in expected for value in row]


@hypothesis.given(ROWS, st.integers(0, 4))
def test_cut_is_slicing(rows, limit):
    assert rows_of(Ragged.of(rows).cut(limit)) == [r[:limit] for r in rows]


@hypothesis.given(ROWS, st.lists(st.just(7), max_size=2), st.lists(st.just(8), max_size=2))
def test_surround_is_concatenation(rows, head, tail):
    assert rows_of(Ragged.of(rows).surround(head, tail)) == [head + r + tail for r in rows]
