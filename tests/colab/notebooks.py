"""Executes a notebook as a user would, and looks at what it shows."""

import pathlib

import nbformat
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parent.parent.parent
ALL = sorted((ROOT / "colab").glob("*.ipynb"))


def execute(path, folder, monkeypatch):
    """Runs the notebook in the empty ``folder``; returns its outputs."""
    notebook = nbformat.read(path, as_version=4)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert any("image/png" in o.get("data", {}) for o in outputs), "the plot is there"
    assert list(folder.iterdir()) == [], "nothing is left behind"
    return outputs
