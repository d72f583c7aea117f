import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.padding import LADDER, packing, pad, step_of


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


@hypothesis.given(
    st.sampled_from([(4, 1, 1), (4, 3, 2), (6, 2, 3)]), st.integers(1, 9), st.integers(0, 2**32 - 1)
)
def test_packing_lists_each_real_token_of_its_group_once(shape, step, seed):
    b, n, groups = shape
    lengths = np.random.default_rng(seed).integers(0, 8, (b, n))
    mask = np.arange(7) < lengths[..., None]
    packed = packing(lengths, 7, groups, step=step)
    assert packed.dtype == np.int32
    cells = b // groups * n * 7
    assert packed.shape[1] % step == 0 or packed.shape[1] == cells
    for j, at in enumerate(packed):
        real = np.flatnonzero(mask[j::groups])
        assert at[: len(real)].tolist() == real.tolist()
        assert (at[len(real) :] == cells).all()
    assert packed.shape[1] - (packed < cells).sum(axis=1).max() < step + (lengths.sum() == 0)
