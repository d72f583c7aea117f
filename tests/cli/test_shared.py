import pytest
from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_sizes, size_flag, sizes_flag


def given(*argv):
    values = flags.FlagValues()
    define_sizes(values)
    values(["jaxir", *argv])
    return values


def test_sizes_are_read_from_lists_and_single_numbers():
    values = given("--layers=1, 2,6", "--dims=64")
    assert sizes_flag(values, "layers") == (1, 2, 6)
    assert size_flag(values, "dims") == 64
    assert size_flag(given(), "dims") is None
    assert sizes_flag(given(), "layers") is None


@pytest.mark.parametrize("text", ["", "0", "0,2", "-2", "2.5", "two", "2,,4", "²"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="whole numbers above 0"):
        sizes_flag(given(f"--dims={text}"), "dims")


@pytest.mark.parametrize("text", ["4,2", "2,2"])
def test_unsorted_and_repeated_sizes_are_refused(text):
    with pytest.raises(InputError, match="from small to large, each once"):
        sizes_flag(given(f"--layers={text}"), "layers")


def test_a_list_where_one_number_is_meant_is_refused():
    with pytest.raises(InputError, match="expected one number"):
        size_flag(given("--layers=2,4"), "layers")
