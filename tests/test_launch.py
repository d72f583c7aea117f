"""launch/ with a stub of the command that records its arguments."""

import os
import signal
import subprocess
import time

import pytest


@pytest.fixture
def launch(root, tmp_path):
    stub = tmp_path / "stub"
    stub.write_text(
        '#!/usr/bin/env bash\nprintf "%s\\n" "$@" > "$RECORD"\n'
        'trap "echo saved >> $RECORD; exit 0" TERM\n'
        'if [ -n "${STAY:-}" ]; then while true; do sleep 0.05; done; fi\nexit "${CODE:-0}"\n'
    )
    stub.chmod(0o755)
    env = {**os.environ, "JAXIR": str(stub), "RECORD": str(tmp_path / "record")}

    def start(*arguments, **more):
        return subprocess.Popen(
            [str(root / "launch" / "local.sh"), *arguments], env={**env, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start, tmp_path / "record"


def test_passes_its_flags_on_quoted(launch, tmp_path):
    start, record = launch
    flags = ["--config=dense:squad", f"--workdir={tmp_path}/a b", "--config.name=x y"]
    assert start(*flags).wait(20) == 0
    assert record.read_text().splitlines() == ["train", *flags]


def test_dry_run_prints_and_runs_nothing(launch, tmp_path):
    start, record = launch
    out, _ = start("--config=dense", f"--workdir={tmp_path}/run", "--dry-run").communicate(timeout=20)
    assert f"train --config=dense --workdir={tmp_path}/run" in out
    assert not record.exists()
    assert not (tmp_path / "run").exists()


def test_help_and_a_missing_workdir(launch):
    start, _ = launch
    assert "example" in start("--help").communicate(timeout=20)[0]
    process = start("--config=dense")
    assert "give --workdir" in process.communicate(timeout=20)[1]
    assert process.returncode == 2


def test_the_exit_code_is_the_commands(launch, tmp_path):
    start, _ = launch
    assert start(f"--workdir={tmp_path}/run", CODE="2").wait(20) == 2


def test_sigterm_reaches_the_training_which_saves(launch, tmp_path):
    start, record = launch
    process = start(f"--workdir={tmp_path}/run", STAY="1")
    deadline = time.time() + 10
    while not record.exists() and time.time() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert record.read_text().endswith("saved\n")
