"""``jaxir train`` by two real processes: equal to one, stopped, broken, and refused."""

import time

import jax
import numpy as np
import pytest

from jaxir.config import load_config, override
from jaxir.files import read_json
from jaxir.training.checkpoint import load_model
from jaxir.training.log import read_log

from .together import begin, end, free_port, jaxir, place

pytestmark = pytest.mark.endtoend

STEPS = 16
# One padded length, so that there is one program to compile; parameters large enough to be sharded.
CHANGES = {
    "steps": str(STEPS),
    "encoder.dim": "512",
    "optimizer.optimizer": "{'fn': 'optax:sgd', 'momentum': 0.9}",
    "ladder": "(8,)",
    "max_length.query": "8",
    "max_length.doc": "8",
    "data.augment": "({'fn': 'tests.distributed.parts:obstacle'},)",
    "checkpoint.every": "8",
    "eval.every": "16",
    "log.every": "1",
}


def train(texts, workdir, *more, **changes):
    """The command, without the flags that join processes."""
    changes = {**CHANGES, "data.source": f"beir:{texts}", **changes}
    fields = (f"--config.{key}={value}" for key, value in changes.items())
    return jaxir("train", "--config=quickstart:smoke", f"--workdir={workdir}", *fields, *more)


def begin_both(command, env=({}, {}), more=((), ())):
    port = free_port()
    return [begin([*command, *place(2, i, port), *more[i]], **env[i]) for i in range(2)]


FSDP = {"mesh.data": "1", "mesh.fsdp": "2"}


@pytest.fixture(scope="module")
def pair(texts, tmp_path_factory):
    """The work directory of an uninterrupted run by two processes, and what they printed."""
    workdir = tmp_path_factory.mktemp("pair")
    ends = end(*begin_both(train(texts, workdir, **FSDP)))
    assert [e.status for e in ends] == [0, 0], ends[0].error + ends[1].error
    return workdir, ends


def test_two_processes_train_what_one_trains(pair, texts, tmp_path):
    from jaxir.training.train import train as train_here

    workdir, _ = pair
    config = load_config("quickstart:smoke")
    for key, value in {**CHANGES, "data.source": f"beir:{texts}", "mesh.data": "1"}.items():
        override(config, key, value)
    train_here(config, tmp_path, progress=False)
    models = [load_model(path, step="latest") for path in (workdir, tmp_path)]
    assert [model.step for model in models] == [STEPS, STEPS]
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, models[0].params, models[1].params)
    logs = [
        [(x["step"], x[k]) for k in ("loss", "MRR@10") for x in read_log(w) if k in x]
        for w in (workdir, tmp_path)
    ]
    assert [step for step, _ in logs[0]] == [*range(1, STEPS + 1), STEPS]
    np.testing.assert_allclose(*logs, rtol=1e-5)
    configs = [read_json(path / "config.json") for path in (workdir, tmp_path)]
    assert configs[0]["fingerprint"] == configs[1]["fingerprint"]


def test_only_the_first_process_talks(pair):
    _, (first, second) = pair
    assert f"trained to step {STEPS}" in first.out
    assert "step/s" in first.error
    assert "trained" not in second.out
    assert "step" not in second.error


def test_sigterm_to_one_process_saves_on_both_and_the_run_goes_on_to_the_same_bits(pair, texts, tmp_path):
    slow = {"JAXIR_TEST_SLEEP": "1"}
    command = train(texts, tmp_path, **FSDP, **{"eval.every": "0"})
    running = begin_both(command, env=(slow, slow))
    deadline = time.time() + 120
    while not read_log(tmp_path) and time.time() < deadline:
        assert all(process.poll() is None for process in running)
        time.sleep(0.05)
    running[1].terminate()
    ends = end(*running)
    assert [e.status for e in ends] == [0, 0], ends[0].error + ends[1].error
    stopped = int(ends[0].out.split("trained to step ")[1].split()[0])
    assert 1 <= stopped < STEPS
    assert max(int(p.name) for p in (tmp_path / "checkpoints").glob("*")) == stopped

    ends = end(*begin_both(command))
    assert [e.status for e in ends] == [0, 0], ends[0].error + ends[1].error
    assert f"going on from step {stopped}" in ends[0].out
    models = [load_model(path, step="latest") for path in (pair[0], tmp_path)]
    assert [model.step for model in models] == [STEPS, STEPS]
    jax.tree.map(np.testing.assert_array_equal, models[0].params, models[1].params)


def test_a_failure_on_one_process_ends_the_other_with_its_message(texts, tmp_path):
    failing = {"JAXIR_TEST_FAIL": "the disk of this host is gone"}
    running = begin_both(train(texts, tmp_path), env=({}, failing))
    running[1].wait(120)
    began = time.time()
    first, second = end(*running)
    assert time.time() - began < 10
    assert first.status == second.status == 1
    assert "process 1 failed: RuntimeError: the disk of this host is gone" in first.error
    assert "Traceback" in second.error


def test_what_is_refused_before_a_run_begins(texts, tmp_path):
    """Three pairs and two lonely processes at once: they wait more than they compute."""
    port = free_port()
    lonely = [
        begin([*train(texts, tmp_path / "a"), *place(2, i, port + i), "--join_timeout=3"]) for i in range(2)
    ] + [begin([*train(texts, tmp_path / "a"), "--distributed=auto"])]
    configs = begin_both(train(texts, tmp_path / "b"), more=((), ("--config.seed=1", "--config.steps=7")))
    unwritable = begin_both(train(texts, tmp_path / "c"), more=((), ("--workdir=/proc/nowhere",)))
    first, second, clusterless = end(*lonely)
    assert first.status == second.status == clusterless.status == 2
    assert "jaxir: --distributed=auto found no cluster" in clusterless.error
    assert f"not all 2 processes had come to localhost:{port}, where process 0 waits" in first.error
    assert f"was not let in by the coordinator at localhost:{port + 1} within 3 s" in second.error
    for one in end(*configs):
        assert one.status == 2
        assert (
            "the processes differ in config: seed is 0 on process 0 and 1 on process 1; steps is 16"
            in one.error
        )
    first, second = end(*unwritable)
    assert (first.status, second.status) == (1, 2)
    assert "jaxir: /proc/nowhere cannot be written: No such file or directory" in second.error
    assert "process 1 failed: /proc/nowhere cannot be written" in first.error
    assert not list(tmp_path.glob("*/checkpoints"))
