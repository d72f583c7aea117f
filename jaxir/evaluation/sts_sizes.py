"""Similarity of sentences at every size of an encoder, all (layers, dims), in one pass over the sentences."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from jax.sharding import Mesh

from jaxir.checks import check_known
from jaxir.evaluation import terminal
from jaxir.evaluation.report import check_replaceable
from jaxir.evaluation.sizes import at_layers, choose_sizes
from jaxir.evaluation.sizes_cut import Wide
from jaxir.evaluation.sts import StsSet
from jaxir.evaluation.sts_overlap import warnings_of
from jaxir.evaluation.sts_run import check_sets, encode_sentences, figures_of, sentence_rows
from jaxir.files import PathLike, new_directory, write_json, write_manifest, write_text
from jaxir.models.cut import NAMES
from jaxir.retrieval.model import SIDES, encoder_of
from jaxir.training.checkpoint import Model


class StsSize(NamedTuple):
    """The figures of one size: {set: {"spearman", "pearson"}}."""

    layers: int  # 0: the encoder has none to choose from
    dims: int
    figures: dict[str, dict[str, float]]

    @property
    def spearman(self) -> float:
        """The mean of the sets."""
        return sum(found["spearman"] for found in self.figures.values()) / len(self.figures)


class StsSizes(NamedTuple):
    """What :func:`evaluate_sts_sizes` found."""

    sizes: tuple[StsSize, ...]  # layer by layer, the largest last
    layers: tuple[int, ...]
    dims: tuple[int, ...]
    unit: str  # of dims
    side: str
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        sets = ", ".join(self.sizes[0].figures)
        return f"Spearman's correlation of the cosine at every size, {sets}"


def evaluate_sts_sizes(
    model: Model,
    sets: Sequence[StsSet],
    *,
    layers: Sequence[int] | None = None,
    dims: Sequence[int] | None = None,
    part: str | None = None,
    side: str = "query",
    mesh: Mesh | None = None,
    progress: bool = True,
) -> StsSizes:
    """:func:`jaxir.evaluation.sts_run.evaluate_sts` at every size; one forward pass gives all layers.

    Args:
      layers, dims: ascending; default :func:`jaxir.evaluation.sizes.choose_sizes`.
      part: which representation of a hybrid encoder.

    Raises:
      InputError: sizes that the encoder does not have, and what ``evaluate_sts`` refuses.
    """
    check_known("side", side, SIDES)
    check_sets(sets)
    encoder = encoder_of(model, part)
    layers, dims = choose_sizes(model.config, encoder, layers, dims)
    rows = sentence_rows(sets)
    at, of, _ = at_layers(model, part, layers)
    vectors = encode_sentences(at, list(rows), part=of, side=side, mesh=mesh, progress=progress)
    wide, free = Wide(vectors, encoder.dim, encoder.normalized), side == "query" and encoder.table is not None
    found = []
    for number, layer in enumerate(layers):
        whole = vectors if free else wide.layer(number)  # bags of words are the same at every size
        for width in dims:
            cut = whole if free else wide.cut(whole, width)
            found.append(StsSize(layer, width, figures_of(sets, rows, cut)))
    notes = warnings_of(sets, trained_on=json.dumps(model.config, default=str))
    return StsSizes(tuple(found), layers, dims, NAMES[encoder.kind], side, tuple(notes))


def show(found: StsSizes) -> None:
    """Prints the table to standard output."""
    head, *rows = _table(found)
    terminal.show_table(head, [[[(cell, "")] for cell in row] for row in rows], title=found.title)


def write_sts_sizes_report(out_dir: PathLike, found: StsSizes, *, model: Model) -> pathlib.Path:
    """Writes ``sts.md``, which it returns, ``sts.csv`` (each size and set) and ``results.json``.

    Raises:
      InputError: ``out_dir`` holds something that is not a report.
    """
    out = pathlib.Path(out_dir)
    check_replaceable(out)
    lines = [
        dict(layers=size.layers, dims=size.dims, set=name, **figures)
        for size in found.sizes
        for name, figures in size.figures.items()
    ]
    with new_directory(out, overwrite=True) as work:
        facts = dict(model=model.fingerprint, side=found.side, layers=found.layers, dims=found.dims)
        write_json(work / "results.json", {**facts, "sizes": lines, "notes": found.notes})
        with (work / "sts.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
        head, *rows = _table(found)
        table = [head, ["---:"] * len(head), *rows]
        page = [f"# {found.title}", "", *(f"| {' | '.join(row)} |" for row in table), ""]
        write_text(
            work / "sts.md", "\n".join([*page, *(f"- {note}" for note in found.notes)]).rstrip() + "\n"
        )
        write_manifest(work, "report", title=found.title)
    return out / "sts.md"


def _table(found: StsSizes) -> list[list[str]]:
    """A row for each layer, a column for each width: the mean of the sets."""
    rows = [
        ["layers", *(f"{width} {found.unit}" if not i else str(width) for i, width in enumerate(found.dims))]
    ]
    for number, layer in enumerate(found.layers):
        some = found.sizes[number * len(found.dims) : (number + 1) * len(found.dims)]
        rows.append([str(layer) if layer else "", *(f"{size.spearman:.4f}" for size in some)])
    return rows
