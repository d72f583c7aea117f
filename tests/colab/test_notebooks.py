"""Every notebook runs from top to bottom, offline, without an error."""

import os
import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

from tests.models.pretrained import folders

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "colab").glob("*.ipynb")), ids=lambda p: p.stem)
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    first = "".join(cell.source for cell in notebook.cells[:2])
    assert "colab-badge" in first
    assert "pip install" in first
    assert all(not cell.get("outputs") for cell in notebook.cells), "notebooks are kept without output"
    folders.write(tmp_path / "model", folders.change(folders.BERT, max_positions=128))  # no download
    monkeypatch.setenv("JAXIR_MODEL", str(tmp_path / "model"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    here = tmp_path / "here"
    here.mkdir()
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(here)}}
    ).execute()
    shown = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert any("image/png" in o.get("data", {}) for o in shown), "the plot is there"
    assert os.listdir(here) == []
