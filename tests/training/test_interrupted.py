"""Whole runs by the command: killed and started again, stopped, resumed with another config, diverged."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.training.checkpoint import load_model
from jaxir.training.log import read_log

pytestmark = pytest.mark.endtoend

STEPS = 60


def command(texts, workdir, *more):
    return [
        sys.executable, "-m", "jaxir.cli.main", "train", "--config=dense:smoke", f"--workdir={workdir}",
        f"--config.data.source=beir:{texts}", f"--config.steps={STEPS}", "--config.checkpoint.every=5",
        "--config.eval.every=20", "--config.encoder.dropout=0.1", *more,
    ]  # fmt: skip


def start(*arguments):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    env = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(
        command(*arguments), env=env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_steps(process, workdir, steps):
    """Until the newest finished checkpoint is at least ``steps`` (or the process ended)."""
    deadline = time.time() + 120
    while process.poll() is None and time.time() < deadline:
        done = [int(p.name) for p in workdir.glob("checkpoints/*") if p.name.isdigit()]
        if done and max(done) >= steps:
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(texts, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    out, error = (process := start(texts, workdir)).communicate(timeout=300)
    assert process.returncode == 0, error
    assert f"trained to step {STEPS}" in out
    return workdir


def same_parameters(a, b):
    first, second = load_model(a, step="latest"), load_model(b, step="latest")
    assert first.step == second.step == STEPS
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


def test_killed_at_three_random_points_the_run_ends_with_the_same_bits(texts, uninterrupted, tmp_path):
    points = sorted(random.Random(time.time_ns()).sample(range(1, STEPS - 5), 3))
    for point in points:
        process = start(texts, tmp_path)
        wait_for_steps(process, tmp_path, point)
        time.sleep(random.random() / 5)  # between checkpoints, or in the middle of one
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(texts, tmp_path)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    same_parameters(uninterrupted, tmp_path)
    steps = [line["step"] for line in read_log(tmp_path) if "loss" in line]
    assert steps == sorted(set(steps)), f"a step is in the log twice after kills at {points}"


def test_sigterm_saves_exits_0_and_the_run_goes_on_to_the_same_bits(texts, uninterrupted, tmp_path):
    process = start(texts, tmp_path)
    wait_for_steps(process, tmp_path, 5)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    stopped = int(out.split("trained to step ")[1].split()[0])
    assert max(int(p.name) for p in tmp_path.glob("checkpoints/*")) == stopped
    process = start(texts, tmp_path)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    same_parameters(uninterrupted, tmp_path)


def test_a_work_directory_goes_on_only_with_its_config(texts, uninterrupted):
    process = start(texts, uninterrupted, "--config.optimizer.learning_rate=0.5")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "another config" in error
    assert "optimizer.learning_rate was 0.001, is 0.5" in error


def test_a_diverging_run_stops_with_a_sentence(texts, tmp_path):
    process = start(texts, tmp_path, "--config.optimizer.learning_rate=1e30", "--config.optimizer.warmup=0")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "became" in error
    assert "Last good checkpoint" in error
    assert "Traceback" not in error


def test_what_a_run_leaves_behind(uninterrupted):
    names = {p.name for p in uninterrupted.iterdir()}
    assert {"config.json", "tokenizer.json", "metrics.jsonl", "checkpoints", "data"} <= names
    log = read_log(uninterrupted)
    assert [line["step"] for line in log if "MRR@10" in line] == [20, 40, 60]
    assert all(
        {"loss", "rank", "rank/top1", "gradient_norm", "learning_rate"} <= line.keys()
        for line in log
        if "loss" in line
    )


def test_the_config_of_a_work_directory_is_data(uninterrupted, tmp_path):
    import shutil

    copy = tmp_path / "elsewhere"
    shutil.copytree(uninterrupted, copy)
    config = json.loads((copy / "config.json").read_text())
    config["encoder"]["fn"] = "os:system"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="allow-import=os"):
        load_model(copy)
