"""TREC run files: round trip in rank order, and a sentence with the line for what is malformed."""

import gzip

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.retrieval import runs
from jaxir.retrieval.ids import pack_ids


@pytest.mark.parametrize("name", ["a.run", "a.run.gz"])
def test_round_trip(tmp_path, name):
    run = {"q2": {"d1": 3.5, "d9": 1.25}, "q1": {"é": -0.5}}
    runs.write(tmp_path / name, run, tag="mine")
    assert runs.read(tmp_path / name) == run
    assert [f.name for f in tmp_path.iterdir()] == [name]


def test_the_file_is_what_trec_eval_reads(tmp_path):
    runs.write(tmp_path / "a", {"q": {"low": 1.0, "high": 2.0}}, tag="t")
    assert (tmp_path / "a").read_text() == "q Q0 high 1 2 t\nq Q0 low 2 1 t\n"


def test_ties_keep_their_order_for_readers_that_sort_by_score(tmp_path):
    names = [f"d{i}" for i in (3, 9, 1, 7)]
    runs.write(tmp_path / "a", {"q": dict.fromkeys(names, 0.1)})
    lines = [line.split() for line in (tmp_path / "a").read_text().splitlines()]
    scores = np.array([line[4] for line in lines]).astype(np.float32)
    assert [line[2] for line in lines] == names
    assert (np.diff(scores) < 0).all()
    np.testing.assert_allclose(scores, 0.1, rtol=1e-6)
    assert list(runs.read(tmp_path / "a")["q"]) == names


def test_scores_that_only_float64_tells_apart_keep_their_order(tmp_path):
    run = {"q": {"b": 1.0 + 1e-12, "a": 1.0, "c": 1.0 + 2e-12}}
    runs.write(tmp_path / "a", run)
    assert list(runs.read(tmp_path / "a")["q"]) == ["c", "b", "a"]


def test_equal_runs_give_equal_gz_files(tmp_path):
    for name in ("a.gz", "b.gz"):
        runs.write(tmp_path / name, {"q": {"d": 1.0}})
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_reading_ranks_by_score_then_rank(tmp_path):
    (tmp_path / "a").write_text("q 0 c 3 1.0 x\nq 0 a 1 1.0 x\n\nq 0 b 2 7 x\n")
    assert list(runs.read(tmp_path / "a")["q"]) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("q Q0 d 1 2.0 t\nq Q0 d 1 2.0\n", "line 2: expected 6 columns"),
        ("q Q0 d 1 high t\n", "line 1: rank '1' or score 'high' is no number"),
        ("q Q0 d first 1.0 t\n", "line 1: rank 'first' or score"),
        ("q Q0 d 1 nan t\n", "line 1: the score is nan"),
        ("q Q0 d 1 1 t\nr Q0 d 1 1 t\nq Q0 d 2 0 t\n", "line 3: document 'd' a second time"),
        ("", "holds no results"),
    ],
)
def test_malformed_files(tmp_path, text, sentence):
    (tmp_path / "a").write_text(text)
    with pytest.raises(InputError, match=sentence):
        runs.read(tmp_path / "a")


def test_missing_binary_and_torn_files(tmp_path):
    with pytest.raises(InputError, match="there is no run file"):
        runs.read(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(InputError, match="no text file"):
        runs.read(tmp_path / "binary")
    whole = gzip.compress(b"q Q0 d 1 1 t\n" * 100)
    (tmp_path / "torn.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="torn"):
        runs.read(tmp_path / "torn.gz")


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ({"q": {"d 1": 1.0}}, "white space"),
        ({"q": {"": 1.0}}, "white space"),
        ({"q": {"d": float("nan")}}, "nan, not a number"),
    ],
)
def test_what_the_format_cannot_hold_leaves_no_file(tmp_path, run, sentence):
    with pytest.raises(InputError, match=sentence):
        runs.write(tmp_path / "a", run)
    assert not list(tmp_path.iterdir())


def test_from_arrays_drops_what_was_not_found():
    scores = np.array([[2.0, 1.0], [3.0, -np.inf]], np.float32)
    rows = np.array([[1, 0], [2, -1]])
    expected = {"q1": {"b": 2.0, "a": 1.0}, "q2": {"ü": 3.0}}
    for ids in (["a", "b", "ü"], pack_ids(["a", "b", "ü"])):
        assert runs.from_arrays(scores, rows, ["q1", "q2"], ids) == expected
    with pytest.raises(InputError, match="2 queries come with 1"):
        runs.from_arrays(scores, rows, ["q1"], ["a", "b", "c"])
