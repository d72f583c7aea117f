"""Every notebook has its badge, and runs from top to bottom, offline, without an error.

pretrained.ipynb needs published weights: tests/parity/test_notebook.py runs it.
"""

import nbformat
import pytest

from tests.colab import notebooks


@pytest.mark.parametrize("path", notebooks.ALL, ids=lambda p: p.stem)
def test_form(path):
    notebook = nbformat.read(path, as_version=4)
    first = "".join(cell.source for cell in notebook.cells[:2])
    assert "colab-badge" in first
    assert f"/colab/{path.name}" in first
    assert "pip install" in first
    assert all(not cell.get("outputs") for cell in notebook.cells), "notebooks are kept without output"


@pytest.mark.notebook
@pytest.mark.parametrize("path", [p for p in notebooks.ALL if p.stem != "pretrained"], ids=lambda p: p.stem)
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    notebooks.execute(path, tmp_path, monkeypatch)
