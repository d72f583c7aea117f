"""Two real processes: the same losses, metrics and gradients as one; and what processes tell each other."""

import json
import sys

import numpy as np
import pytest

from ..objectives.every import TERMS
from .compute import results
from .together import begin, end, free_port

pytestmark = pytest.mark.endtoend

COUNT, DEVICES = 2, 2


# All terms in one objective: few programs, and each term's own value stands in the metrics.
EVERY = "tests.objectives.every"
SPECS = {
    "everything": dict(
        objective=TERMS, batch=f"{EVERY}:batch", encoder=f"{EVERY}:encoder", arrays=f"{EVERY}:ARRAYS"
    )
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes with two devices each wrote."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "specs.json").write_text(json.dumps(SPECS))
    port = free_port()
    command = [sys.executable, "-m", "tests.distributed.worker", f"localhost:{port}", str(COUNT)]
    ends = end(*(begin([*command, str(i), str(folder)], devices=DEVICES) for i in range(COUNT)))
    unshared = f"process 1 does not see in {folder}/1 what process 0 writes there: all processes need one"
    assert [e.status for e in ends] == [1, 1], ends
    assert f"jaxir: process 1 failed: InputError: {unshared}" in ends[0].error
    assert f"InputError: {unshared}" in ends[1].error
    return folder


@pytest.mark.parametrize("name", SPECS)
def test_loss_metrics_and_gradients_equal_those_of_one_device(folder, name):
    expected = results(SPECS[name])
    with np.load(folder / "results.npz") as arrays:
        got = {what: arrays[f"{name}/{what}"] for what in expected}
    for what, x in expected.items():
        np.testing.assert_allclose(got[what], x, rtol=1e-5, atol=1e-7, err_msg=what)


def test_what_processes_tell_each_other(folder):
    first, second = (json.loads((folder / f"said-{i}.json").read_text()) for i in range(COUNT))
    assert [first["process"], second["process"]] == [[0, 2], [1, 2]]
    assert [first["rows"], second["rows"]] == [[0, 3], [3, 7]]
    assert [first["turn was taken"], second["turn was taken"]] == [False, True]
    assert first["from_first"] == second["from_first"] == {"index": 0}
    assert first["same"] == second["same"] == "accepted"
    sentence = "the processes differ in config: seed is 0 on process 0 and 1 on process 1"
    assert first["not same"] == second["not same"] == sentence
    assert first["shared"] == second["shared"] == "accepted"
    assert "takes 1 of process 0, 0 of process 1: every process needs the same" in first["mesh"]
