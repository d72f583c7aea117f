"""Starts several processes that run one program together, as a cluster would."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent.parent
DEADLINE = 240


class End(NamedTuple):
    status: int
    out: str
    error: str


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def place(count, index, port):
    """The flags that join process ``index`` of ``count``."""
    return [f"--distributed=localhost:{port}", f"--process_count={count}", f"--process_index={index}"]


def jaxir(*arguments):
    return [sys.executable, "-m", "jaxir.cli.main", *map(str, arguments)]


def begin(command, devices=1, **env):
    """The process, started; what it prints goes to files, so that nobody waits for a reader."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        **env,
    }
    streams = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
    process = subprocess.Popen(command, env=env, stdout=streams[0], stderr=streams[1], text=True)
    process.streams = streams
    return process


def end(*running):
    """Waits for the processes; what became of each. None outlives the test."""
    try:
        for process in running:
            process.wait(DEADLINE)
    finally:
        for process in running:
            process.kill()
    ends = []
    for process in running:
        texts = []
        for stream in process.streams:
            stream.seek(0)
            texts.append(stream.read())
            stream.close()
        ends.append(End(process.returncode, *texts))
    return ends
