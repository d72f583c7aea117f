import struct

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.evaluation import plots


def size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


CURVES = [{"step": i, "loss": 3 / (i + 1), "lr": 1e-3} for i in range(60)]


def test_the_loss_curve_has_a_panel_more_with_a_dev_measure(tmp_path):
    plots.loss_curve(tmp_path / "plain.png", CURVES)
    dev = [*CURVES, {"step": 20, "MRR@10": 0.2, "seconds": 9.0}, {"step": 40, "dev/MRR@10": 0.3}]
    plots.loss_curve(tmp_path / "dev.png", dev, title="A run")
    assert size(tmp_path / "dev.png")[1] > size(tmp_path / "plain.png")[1]


def test_short_and_broken_curves_are_drawn(tmp_path):
    plots.loss_curve(tmp_path / "one.png", [{"step": 1, "loss": 2.0}])
    plots.loss_curve(tmp_path / "nan.png", [*CURVES, {"step": 61, "loss": float("nan")}])
    assert size(tmp_path / "one.png") == size(tmp_path / "nan.png")
    with pytest.raises(InputError, match="'step' and 'loss'"):
        plots.loss_curve(tmp_path / "none.png", [{"step": 1}])


def test_gain_loss_has_one_panel_per_other_run(tmp_path):
    rng = np.random.default_rng(0)
    values = {name: {f"q{i}": float(rng.random()) for i in range(9)} for name in "abcd"}
    plots.gain_loss(tmp_path / "3.png", values, baseline="a", measure="nDCG@10")
    two = {name: values[name] for name in "ab"}
    plots.gain_loss(tmp_path / "1.png", two, baseline="a", measure="nDCG@10", notes={"b": "p=1"})
    assert size(tmp_path / "3.png")[0] > size(tmp_path / "1.png")[0]
    same = {"a": values["a"], "b": values["a"]}  # no difference at all
    plots.gain_loss(tmp_path / "same.png", same, baseline="a", measure="nDCG@10")
    with pytest.raises(InputError, match="nothing to compare with 'a'"):
        plots.gain_loss(tmp_path / "x.png", {"a": values["a"]}, baseline="a", measure="x")


def test_smoothing_keeps_a_line_and_the_mean():
    assert plots.smooth(np.arange(9.0), 3)[1:-1] == pytest.approx(np.arange(1.0, 8.0))
    assert plots.smooth(np.ones(5), 5) == pytest.approx(np.ones(5))
