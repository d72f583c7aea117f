"""A grid of sizes as a picture: what each (layers, dims) finds, and what finding it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        costs = np.maximum(bytes_per_document, 1.0)  # sparse rows may all be empty
        _over_cost(right, values, costs, layers, milliseconds, trained)
        for (name, value), style in zip((levels or {}).items(), ("--", ":", "-.")):
            right.axhline(value, color="#444444", linewidth=1.3, linestyle=style, label=name)
        right.set_title(f"{measure} by what it costs")
        right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        figure.suptitle(title, ha="left", x=0.01, fontsize=13.5, weight="bold")
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
    low, high = values.min() - 0.1 * spread, values.max() + 0.35 * spread
    image = axes.imshow(values, cmap="YlGnBu", origin="lower", aspect="auto", vmin=low, vmax=high)
    best = values.max()
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.3
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
) -> None:
    """A line for each layer, the deeper the darker; hollow points were not trained, where some were."""
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.12, 0.95, len(layers)))
    for row in reversed(range(len(layers))):
        plural = "" if layers[row] == "1" else "s"
        name = f"{layers[row]} layer{plural}, " if layers[row] else ""
        style = dict(color=shades[row], marker=MARKERS[row % len(MARKERS)], markersize=6)
        label = f"{name}{_short(milliseconds[row])} ms per text"
        axes.plot(costs[row], values[row], linewidth=1.7, zorder=2, label=label, **style)
        hollow = [j for j in range(len(values[row])) if trained and (row, j) not in trained]
        white = dict(markerfacecolor="white", linestyle="", zorder=3)
        axes.plot(costs[row][hollow], values[row][hollow], **style, **white)
    axes.set_xscale("log")
    axes.set_xlabel("bytes per document" + (" (filled: trained at this size)" if trained else ""))
    axes.xaxis.set_major_locator(FixedLocator(_apart(costs[-1])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.margins(x=0.06, y=0.1)


def _apart(costs: Float[np.ndarray, " dims"]) -> list[float]:
    """Those of rising costs whose names do not touch on a logarithmic axis, the first and last among them.

    >>> _apart(np.array([64.0, 70, 512, 1000, 64000]))
    [64.0, 512.0, 64000.0]
    """
    first, *between, last = np.maximum([costs[0], *costs[1:-1], costs[-1]], 1.0).tolist()
    kept, least = [first], (last / first) ** 0.12
    for cost in between:
        if cost >= kept[-1] * least and last >= cost * least:
            kept.append(cost)
    return [*kept, last]


def _short(number: float) -> str:
    """
    >>> _short(12.34), _short(0.01234)
    ('12.3', '0.0123')
    """
    return f"{number:,.1f}" if number >= 10 else f"{number:.3g}"
