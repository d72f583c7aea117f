import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.padding import LADDER, pad, step_of


@pytest.mark.parametrize(
    ("longest", "step"), [(0, 16), (16, 16), (17, 32), (512, 512), (513, 1024), (1025, 1536)]
)
def test_step_is_the_smallest_that_holds(longest, step):
    assert step_of(longest, LADDER) == step


@pytest.mark.parametrize("ladder", [(), (0, 4), (-1,)])
def test_ladder_needs_positive_steps(ladder):
    with pytest.raises(InputError, match="positive steps"):
        step_of(3, ladder)


@hypothesis.given(st.lists(st.lists(st.integers(1, 9), max_size=20), max_size=6))
def test_padding_loses_nothing(rows):
    tokens = pad([np.array(r, np.int32) for r in rows], ladder=(4, 8, 32), pad_id=77)
    assert tokens.ids.dtype == np.int32
    assert tokens.ids.shape == tokens.mask.shape
    assert [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask)] == rows
    assert (tokens.ids[~tokens.mask] == 77).all()
    assert tokens.ids.shape[1] == step_of(max(map(len, rows), default=0), (4, 8, 32))


def test_given_length_cuts():
    tokens = pad([np.array([1, 2, 3]), np.array([4])], length=2)
    assert tokens.ids.tolist() == [[1, 2], [4, 0]]
    assert tokens.mask.tolist() == [[True, True], [True, False]]
