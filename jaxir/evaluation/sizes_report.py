"""The report of a grid of sizes: a picture, a table for people, csv and json for programs."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxir.evaluation import plots_grid, terminal
from jaxir.evaluation.report import check_replaceable, picture_measure
from jaxir.evaluation.sizes import SizesFound
from jaxir.files import PathLike, new_directory, write_json, write_manifest
from jaxir.models.cut import NAMES
from jaxir.models.trained_sizes import describe_size

COSTS = ("ms per text", "bytes per document", "ms per query")


def write_sizes_report(
    out_dir: PathLike, found: SizesFound, *, title: str, facts: Mapping[str, Any] | None = None
) -> pathlib.Path:
    """Writes ``grid.png``, ``sizes.md``, ``sizes.csv`` and ``sizes.json`` into ``out_dir``; returns it.

    The folder appears whole or not at all, and replaces an older report, never another folder.

    Args:
      title: over picture and table.
      facts: anything else for ``sizes.json`` (model, source, split).

    Raises:
      InputError: ``out_dir`` holds something that is not a report.
    """
    out = pathlib.Path(out_dir)
    check_replaceable(out)
    with new_directory(out, overwrite=True) as work:
        draw(work / "grid.png", found, title=title)
        (work / "sizes.md").write_text(markdown(found, title=title), encoding="utf-8")
        rows = as_rows(found)
        with (work / "sizes.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        write_json(work / "sizes.json", {**(facts or {}), **as_json(found)})
        write_manifest(work, "report", title=title)
    return out


def as_rows(found: SizesFound) -> list[dict[str, Any]]:
    """One row for each size; ``trained`` is empty where the config says nothing of sizes."""
    known = found.trained
    return [
        {
            "layers": size.layers,
            "dims": size.dims,
            "trained": "" if known is None else int(is_trained(found, size.layers, size.dims)),
            **size.figures,
            "ms_per_text": size.milliseconds_per_text,
            "bytes_per_document": size.bytes_per_document,
            "ms_per_query": size.milliseconds_per_query,
        }
        for size in found.sizes
    ]


def as_json(found: SizesFound) -> dict[str, Any]:
    """What ``sizes.json`` holds."""
    return {
        "sizes": as_rows(found),
        "layers": found.layers,
        "dims": found.dims,
        "whole": {"layers": found.whole[0], "dims": found.whole[1]},
        "kind": found.kind,
        "trained": None if found.trained is None else sorted(found.trained),
        "bm25": found.bm25,
        "queries": found.queries,
        "docs": found.docs,
        "ms_per_text_of": {"texts": found.timed[0], "tokens": found.timed[1]},
        "seconds": {name: round(value, 3) for name, value in found.seconds.items()},
        "notes": found.notes,
    }


def is_trained(found: SizesFound, layers: int, dims: int) -> bool:
    """Whether the config trains the size; the encoder's own is one of a plain training."""
    return (layers, dims) == found.whole if found.trained is None else (layers, dims) in found.trained


def draw(path: PathLike, found: SizesFound, *, title: str, measure: str | None = None) -> None:
    """The heatmap of a measure, by default the first nDCG, or the first."""
    measure = measure or picture_measure(found.measures)
    shape = len(found.layers), len(found.dims)
    numbers = lambda of: np.array([of(size) for size in found.sizes], np.float64).reshape(shape)
    places = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    trained = [p for p in places if found.trained and (found.layers[p[0]], found.dims[p[1]]) in found.trained]
    plots_grid.sizes_grid(
        path,
        numbers(lambda size: size.figures[measure]),
        layers=[str(n) if n else "" for n in found.layers],
        dims=[found.name(d) for d in found.dims],
        measure=measure,
        title=title,
        bytes_per_document=numbers(lambda size: size.bytes_per_document),
        milliseconds=[s.milliseconds_per_text for s in found.sizes[:: shape[1]]],
        trained=trained,
        levels={"BM25": found.bm25[measure]} if found.bm25 else None,
        unit=NAMES[found.kind],
    )


def _table(found: SizesFound) -> tuple[list[str], list[list[str]]]:
    layered = found.layers != (0,)
    head = [*(["layers"] if layered else []), NAMES[found.kind], *found.measures, *COSTS]
    rows = []
    for size in found.sizes:
        mark = "*" if found.trained and is_trained(found, size.layers, size.dims) else ""
        figures = [f"{value:.4f}" for value in size.figures.values()]
        costs = f"{size.milliseconds_per_text:.3g}", f"{size.bytes_per_document:,.0f}"
        name = found.name(size.dims) + mark
        layer = [str(size.layers)] if layered else []
        rows.append([*layer, name, *figures, *costs, f"{size.milliseconds_per_query:.3g}"])
    if found.bm25:
        first = ["BM25", ""] if layered else ["BM25"]
        rows.append([*first, *(f"{v:.4f}" for v in found.bm25.values()), "", "", ""])
    return head, rows


def caption(found: SizesFound) -> str:
    """How the figures were measured."""
    texts, tokens = found.timed
    marked = "* trained at this size. " if found.trained else ""
    return (
        f"{marked}ms per text: one batch of {texts} documents padded to {tokens} tokens, at each depth; "
        "ms per query: exact search of a query that comes alone"
    )


def show(found: SizesFound, *, title: str = "") -> None:
    """Prints the table, the best value of each measure bold."""
    head, rows = _table(found)
    best = {m: max(f"{s.figures[m]:.4f}" for s in found.sizes) for m in found.measures}
    styled = [
        [[(text, "bold" if name in best and text == best[name] else "")] for name, text in zip(head, row)]
        for row in rows
    ]
    terminal.show_table(head, styled, title=title, caption=caption(found))


def markdown(found: SizesFound, *, title: str = "") -> str:
    """The table as a page of markdown."""
    head, rows = _table(found)
    lines = [f"# {title}", ""] if title else []
    lines += [f"| {' | '.join(cells)} |" for cells in (head, ["---:"] * len(head), *rows)]
    notes = [f"- {note}" for note in (*found.notes, *loss_notes(found))]
    return "\n".join([*lines, "", caption(found), *(["", *notes] if notes else [])]) + "\n"


def loss_notes(found: SizesFound, measure: str | None = None) -> list[str]:
    """What sizes that were not trained lose, in a sentence: a warning to whoever cuts the model there.

    Of a model not trained nested some sizes are named: fewer dimensions at the most layers, and fewer layers
    at the most dimensions. Of another one the worst.
    """
    measure = measure or picture_measure(found.measures)
    top = found.layers[-1], found.dims[-1]
    full = found.value(*top, measure)
    unit = NAMES[found.kind]
    others = [
        s
        for s in found.sizes
        if not is_trained(found, s.layers, s.dims) and (s.layers, s.dims) not in (top, found.whole)
    ]
    if not others or not full > 0:
        return []

    def said(size: Any) -> str:
        loss = 1 - size.figures[measure] / full
        what = describe_size((size.layers, size.dims), found.whole, unit)
        return f"{what}: {loss:.0%} less" if loss >= 0.005 else f"{what}: nothing less"

    at_top = f"{measure} of {full:.3f} at " + describe_size(top, found.whole, unit)
    if found.trained is None:
        narrow = [s for s in others if s.layers == top[0]]
        shallow = [s for s in others if s.dims == top[1]]
        named = [*_some(narrow), *_some(shallow)]
        return [
            f"not trained nested, as far as the config says. {at_top}; {'; '.join(map(said, named))}. "
            "configs matryoshka and starbucks train models that can be cut"
        ]
    worst = min(others, key=lambda s: s.figures[measure])
    return [
        f"{len(others)} of the {len(found.sizes)} sizes were not trained; the worst of them, with {at_top}: "
        f"{said(worst)}"
    ]


def _some(sizes: list[Any]) -> list[Any]:
    """At most three of them, evenly spaced, the largest first."""
    at = np.linspace(0, len(sizes) - 1, min(3, len(sizes))).round().astype(int)
    return [sizes[i] for i in at[::-1].tolist()]
