"""The house: what may import what, and what `import jaxir` loads."""

import subprocess
import sys

import pytest

HEAVY = [
    "flax",
    "orbax",
    "grain",
    "tensorflow_datasets",
    "scann",
    "matplotlib",
    "bm25s",
    "tokenizers",
    "rich",
]


def loaded_by(root, statement):
    code = f"import sys; {statement}; print(*[m for m in {HEAVY} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    return out.stdout.split()


@pytest.mark.parametrize("module", ["jaxir", "jaxir.objectives"])
def test_losses_load_jax_and_numpy_alone(root, module):
    assert loaded_by(root, f"import {module}") == []


def test_models_and_the_step_add_flax_alone(root):
    # What a machine without the data and index libraries needs for training loops of one's own.
    statement = (
        "import jaxir.models.static, jaxir.models.encoder, jaxir.training.step, jaxir.training.optimizer"
    )
    assert set(loaded_by(root, statement)) <= {"flax", "rich"}  # flax itself loads rich


def test_help_does_not_load_jax(root):
    out = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jaxir.cli.main", "--help"],
        capture_output=True, text=True, cwd=root, check=True,
    )  # fmt: skip
    assert "quickstart" in out.stdout


def test_import_direction(root):
    out = subprocess.run(
        ["lint-imports"], capture_output=True, text=True, cwd=root, env=path_of_this_python()
    )
    assert out.returncode == 0, out.stdout


def path_of_this_python():
    import os
    import pathlib

    return {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
