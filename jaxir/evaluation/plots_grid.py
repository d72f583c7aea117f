"""A grid of sizes as a picture: what each (layers, dims) finds, and what finding it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jaxir.checks import check_shape
from jaxir.evaluation.plots import STYLE
from jaxir.files import PathLike

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def sizes_grid(
    path: PathLike,
    values: Float[np.ndarray, "layers dims"],
    *,
    layers: Sequence[str],
    dims: Sequence[str],
    measure: str,
    title: str,
    bytes_per_document: Float[np.ndarray, "layers dims"],
    milliseconds: Sequence[float],
    trained: Sequence[tuple[int, int]] = (),
    levels: Mapping[str, float] | None = None,
    unit: str = "dimensions",
) -> None:
    """A heatmap of the sizes, and beside it the same values over the bytes of a document.

    Args:
      path: the PNG to write.
      values: of ``measure``, from the first layer and the fewest dimensions on.
      layers, dims: their names; one layer named "" is an encoder without layers.
      bytes_per_document: the horizontal axis of the second panel, logarithmic.
      milliseconds: per text, of each layer; for the legend.
      trained: (row, column) of sizes that were trained; they are framed.
      levels: values without a size, such as BM25's, as horizontal lines.
      unit: of ``dims``.

    Raises:
      InputError: values that are not one for each layer and width.
    """
    check_shape("values", values, (len(layers), len(dims)))
    with matplotlib.rc_context(STYLE):
        wide, high = 1.5 + 0.92 * len(dims), 1.9 + 0.62 * len(layers)
        figure = Figure(figsize=(max(wide, 4.2) + 5.6, max(high, 4.3)), dpi=130, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(max(wide, 4.2), 5.6))
        _heatmap(left, values, layers, dims, trained, unit)
        left.set_title(f"{measure} of every size" if len(layers) > 1 else f"{measure} of every width")
        colours = _over_cost(right, values, bytes_per_document, layers, milliseconds, trained)
        for (name, value), style in zip((levels or {}).items(), ("--", ":", "-.")):
            right.axhline(value, color="#444444", linewidth=1.3, linestyle=style, label=name)
        right.set_title("and what it costs")
        right.set_ylabel(measure)
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color="#444444")
        del colours
        figure.savefig(path)


def _heatmap(
    axes: Axes,
    values: np.ndarray,
    layers: Sequence[str],
    dims: Sequence[str],
    trained: Sequence[tuple[int, int]],
    unit: str,
) -> None:
    """Colours from the lowest to the highest value; the value in each cell, trained sizes framed."""
    spread = max(float(values.max() - values.min()), 1e-9)
    axes.imshow(values, cmap="YlGnBu", origin="lower", aspect="auto", vmin=values.min() - 0.15 * spread)
    best = values.max()
    for (row, column), value in np.ndenumerate(values):
        dark = (value - values.min()) / spread > 0.5
        axes.text(
            column,
            row,
            f"{value:.3f}",
            ha="center",
            va="center",
            color="white" if dark else "#1c1c1c",
            weight="bold" if value == best else "normal",
        )
    for row, column in trained:
        frame = dict(fill=False, edgecolor="#D55E00", linewidth=2.2)
        axes.add_patch(Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, **frame))
    axes.set_xticks(range(len(dims)), dims)
    axes.set_yticks(range(len(layers)), layers)
    axes.set_xlabel(unit + (" (framed: trained at this size)" if trained else ""))
    axes.set_ylabel("layers" if layers != [""] else "")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _over_cost(
    axes: Axes,
    values: np.ndarray,
    costs: np.ndarray,
    layers: Sequence[str],
    milliseconds: Sequence[float],
    trained: Sequence[tuple[int, int]],
) -> Any:
    """A line for each layer, the deeper the darker; hollow points were not trained, where some were."""
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.12, 0.95, len(layers)))
    for row in reversed(range(len(layers))):
        name = f"{layers[row]} layers, " if layers[row] else ""
        name = name.replace("1 layers", "1 layer") if layers[row] == "1" else name
        axes.plot(costs[row], values[row], color=shades[row], linewidth=1.7, zorder=2)
        for column, (x, y) in enumerate(zip(costs[row], values[row])):
            full = not trained or (row, column) in trained
            axes.plot(
                x,
                y,
                marker=MARKERS[row % len(MARKERS)],
                markersize=6,
                color=shades[row],
                markerfacecolor=shades[row] if full else "white",
                linestyle="",
                zorder=3,
                label=f"{name}{_short(milliseconds[row])} ms per text"
                if column == len(values[row]) - 1
                else None,
            )
    axes.set_xscale("log")
    axes.set_xlabel("bytes per document")
    ticks = costs[-1] if len(costs[-1]) <= 7 else costs[-1][:: -(-len(costs[-1]) // 7)]
    axes.xaxis.set_major_locator(FixedLocator([float(x) for x in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.margins(x=0.06, y=0.1)
    return shades


def _short(number: float) -> str:
    """
    >>> _short(12.34), _short(0.01234)
    ('12.3', '0.0123')
    """
    return f"{number:,.1f}" if number >= 10 else f"{number:.3g}"
