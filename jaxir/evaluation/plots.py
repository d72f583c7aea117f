"""Pictures of a training run and of a comparison, as PNG files. Matplotlib: here and in plots_grid.

Colours are Okabe and Ito's, which people with any colour vision tell apart; no meaning is carried by
colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from jaxir.checks import InputError
from jaxir.evaluation.significance import differences
from jaxir.files import PathLike

BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#8C8C8C"
SERIES = (
    *((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"), ("#CC79A7", "v"), ("#56B4E9", "P")),
    *(("#000000", "X"), ("#8C6D00", "*")),
)
"""Colour and marker of each line of a picture of several."""
_LEVELS = ("--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3)))
_LINES = ((GREEN, "o"), (ORANGE, "s"), (VERMILION, "^"), (BLUE, "D"))
STYLE = {
    "font.size": 11,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def loss_curve(path: PathLike, curves: Sequence[Mapping[str, Any]], *, title: str = "Training") -> None:
    """Training loss over steps, and below it the measures on the development set where there are any.

    Args:
      path: the PNG to write.
      curves: rows of the training log. Rows with ``step`` and ``loss`` make the upper panel; the
        numbers of rows with ``step`` and no ``loss``, which are evaluations, make the lower one.

    Raises:
      InputError: no row has a step and a loss.
    """
    losses = [(r["step"], r["loss"]) for r in curves if "step" in r and "loss" in r]
    if not losses:
        raise InputError("no row of the curves has 'step' and 'loss'")
    dev = {key: _series(curves, key) for key in _dev_keys(curves)}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 5.6 if dev else 3.8), dpi=130, layout="constrained")
        axes = figure.subplots(
            1 + bool(dev), 1, sharex=True, squeeze=False, height_ratios=(3, 2)[: 1 + bool(dev)]
        )[:, 0]
        _draw_loss(axes[0], np.array(losses, np.float64))
        axes[0].set_title(title)
        if dev:
            _draw_dev(axes[1], dev)
        axes[-1].set_xlabel("training step")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        figure.savefig(path)


def gain_loss(
    path: PathLike,
    values: Mapping[str, Mapping[str, float]],
    *,
    baseline: str,
    measure: str,
    notes: Mapping[str, str] | None = None,
) -> None:
    """For each run the per-query differences to ``baseline``, sorted, with wins, ties and losses.

    Args:
      path: the PNG to write.
      values: {run: {query_id: value}} of one measure; one panel per run other than the baseline.
      baseline: the run that the others are compared with.
      measure: its name, for the axis.
      notes: {run: text} for the panel's second line, such as the p-value.
    """
    others = [name for name in values if name != baseline]
    if baseline not in values or not others:
        raise InputError(f"there is nothing to compare with {baseline!r} among {list(values)}")
    columns = len(others) if len(others) <= 3 else 2
    rows = -(-len(others) // columns)
    with matplotlib.rc_context(STYLE):
        size = ((6.4, 10.4, 12.6)[columns - 1], 0.4 + 3.8 * rows)
        figure = Figure(figsize=size, dpi=130, layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for i, axes in enumerate(panels.flat):
            if i >= len(others):
                axes.set_visible(False)
                continue
            d = np.sort(differences(values[others[i]], values[baseline]))[::-1]
            _draw_differences(axes, d, others[i], baseline, (notes or {}).get(others[i], ""))
        for axes in panels[:, 0]:
            axes.set_ylabel(f"difference in {measure}")
        figure.savefig(path)


class Spot(NamedTuple):
    """A point of :func:`frontier`: its place, and the half lengths of its error bars."""

    cost: float | None  # None: a level, drawn over the whole width
    value: float
    cost_spread: float | None = None
    value_spread: float | None = None


def frontier(
    path: PathLike,
    panels: Mapping[str, Mapping[str, Sequence[Spot]]],
    *,
    cost: str,
    measure: str,
) -> None:
    """Effectiveness against cost (logarithmic): a line for each method, a level for those without cost.

    Args:
      path: the PNG to write.
      panels: {collection: {method: points}}, side by side. A method looks alike in all of them.
      cost: the name of the horizontal axis.
      measure: of the vertical axis.

    Raises:
      InputError: nothing to draw.
    """
    if not any(spots for methods in panels.values() for spots in methods.values()):
        raise InputError("there is no point to draw a frontier of")
    lines = _names(panels, with_cost=True)
    levels = _names(panels, with_cost=False)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        size = ((6.8, 11.0, 14.0)[columns - 1], 0.7 + 4.2 * rows)
        figure = Figure(figsize=size, dpi=130, layout="constrained")
        places = figure.subplots(rows, columns, squeeze=False).flat
        handles: dict[str, Any] = {}
        for axes, (title, methods) in zip(places, panels.items()):
            for name, spots in methods.items():
                with_cost = [s for s in spots if s.cost is not None and s.cost > 0]
                if name in lines and with_cost:
                    handles[name] = _draw_line(axes, with_cost, *SERIES[lines.index(name) % len(SERIES)])
                for spot in spots:
                    if spot.cost is None:
                        style = _LEVELS[levels.index(name) % len(_LEVELS)]
                        handles[name] = _draw_level(axes, spot, style)
            axes.set_xscale("log")
            axes.set_title(title)
            axes.set_xlabel(cost)
            costs = [s.cost for spots in methods.values() for s in spots if s.cost]
            if costs and max(costs) < 300 * min(costs):  # powers of ten alone would be few
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.08, y=0.12)
        for axes in list(places):
            axes.set_visible(False)
        for axes in figure.axes[::columns]:
            axes.set_ylabel(measure)
        named = [name for name in (*lines, *levels) if name in handles]
        figure.legend(
            [handles[name] for name in named], named, loc="outside lower center", ncols=min(4, len(named))
        )
        figure.savefig(path)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving average over ``width`` values (an odd number), fewer at both ends.

    >>> smooth(np.array([0.0, 3.0, 0.0, 3.0]), 3).tolist()
    [1.5, 1.0, 2.0, 1.5]
    """
    kernel = np.ones(width)
    total = np.convolve(values, kernel, mode="same")
    return total / np.convolve(np.ones_like(values), kernel, mode="same")


def _names(panels: Mapping[str, Mapping[str, Sequence[Spot]]], *, with_cost: bool) -> list[str]:
    """The methods in their order, those with a cost or those without."""
    return list(
        dict.fromkeys(
            name
            for methods in panels.values()
            for name, spots in methods.items()
            if any((spot.cost is not None) == with_cost for spot in spots)
        )
    )


def _draw_line(axes: Axes, spots: Sequence[Spot], colour: str, marker: str) -> Any:
    spots = sorted(spots, key=lambda spot: spot.cost or 0.0)
    x, y = [s.cost for s in spots], [s.value for s in spots]
    # On a logarithmic axis a bar must not reach 0.
    left = [min(s.cost_spread or 0.0, 0.9 * (s.cost or 0.0)) for s in spots]
    return axes.errorbar(
        x,
        y,
        xerr=[left, [s.cost_spread or 0.0 for s in spots]],
        yerr=[s.value_spread or 0.0 for s in spots],
        color=colour,
        marker=marker,
        markersize=6,
        linewidth=1.8,
        elinewidth=1.1,
        capsize=2.5,
    )


def _draw_level(axes: Axes, spot: Spot, style: Any) -> Any:
    if spot.value_spread:
        low, high = spot.value - spot.value_spread, spot.value + spot.value_spread
        axes.axhspan(low, high, color=GREY, alpha=0.15, linewidth=0)
    return axes.axhline(spot.value, color="#444444", linewidth=1.4, linestyle=style)


def _dev_keys(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    evaluations = [row for row in curves if "step" in row and "loss" not in row]
    keys = dict.fromkeys(key for row in evaluations for key in row)
    return [
        key
        for key in keys
        if key not in ("step", "learning_rate", "seconds")
        and any(isinstance(row.get(key), (int, float)) for row in evaluations)
    ][: len(_LINES)]


def _series(curves: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    rows = [(r["step"], r[key]) for r in curves if "step" in r and r.get(key) is not None]
    return np.array(rows, np.float64).reshape(-1, 2)


def _draw_loss(axes: Axes, points: np.ndarray) -> None:
    steps, losses = points[:, 0], points[:, 1]
    width = len(losses) // 50 * 2 + 1
    if width > 1:
        axes.plot(steps, losses, color=BLUE, alpha=0.28, linewidth=0.9, label="as logged")
        axes.plot(
            steps,
            smooth(losses, width),
            color=BLUE,
            linewidth=2,
            label=f"mean of {width} neighbours",
        )
        axes.legend(loc="upper right")
    else:
        axes.plot(steps, losses, color=BLUE, linewidth=2, marker="." if len(losses) < 15 else "")
    axes.set_ylabel("training loss")
    finite = losses[np.isfinite(losses)]
    if len(finite) > 20:  # the first steps must not squeeze the rest into a flat line
        top = finite[1 + len(finite) // 50 :].max()
        axes.set_ylim(min(0.0, finite.min() * 1.05), top + 0.05 * abs(top))
    axes.margins(x=0.01)


def _draw_dev(axes: Axes, dev: Mapping[str, np.ndarray]) -> None:
    for (name, points), (colour, marker) in zip(dev.items(), _LINES):
        best = points[np.argmax(points[:, 1])]
        label = f"{name}, best {best[1]:.3f}"
        axes.plot(*points.T, color=colour, marker=marker, markersize=4.5, linewidth=1.6, label=label)
    axes.set_ylabel("development sample")
    # Above the panel: the lines of three measures leave no free corner inside it.
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    axes.margins(y=0.12)


def _draw_differences(axes: Axes, d: np.ndarray, run: str, baseline: str, note: str) -> None:
    n = len(d)
    wins, losses = int((d > 0).sum()), int((d < 0).sum())
    edges = np.arange(n + 1)
    axes.stairs(np.maximum(d, 0), edges, fill=True, color=BLUE)
    axes.stairs(np.minimum(d, 0), edges, fill=True, color=VERMILION)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axhline(d.mean(), color=GREY, linewidth=1.4, linestyle="--")
    axes.set_title(f"{run} against {baseline}")
    limit = max(1e-9, np.abs(d).max()) * 1.08
    axes.set_ylim(-max(limit, 0.2), max(limit, 0.2))
    axes.set_xlim(0, n)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel(f"{n:,} queries, most gained first")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2.0}
    where = axes.transAxes
    lines = [
        (0.97, BLUE, f"better: {wins:,} ({wins / n:.0%})"),
        (0.89, "#555555", f"equal: {n - wins - losses:,} ({(n - wins - losses) / n:.0%})"),
        (0.81, VERMILION, f"worse: {losses:,} ({losses / n:.0%})"),
    ]
    for y, colour, text in lines:
        axes.text(0.98, y, text, transform=where, ha="right", va="top", color=colour, bbox=box, weight="bold")
    mean = f"mean {d.mean():+.3f} (dashed)" + (f", {note}" if note else "")
    axes.text(0.02, 0.03, mean, transform=where, ha="left", va="bottom", color="#555555", bbox=box)
