"""An encoder on sets of sentence pairs, and the report of that."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from jaxir.checks import InputError, check_known
from jaxir.evaluation.report import check_replaceable
from jaxir.evaluation.sts import StsSet, sts_figures
from jaxir.evaluation.sts_overlap import warnings_of
from jaxir.files import PathLike, new_directory, write_json, write_manifest, write_text
from jaxir.retrieval import encode
from jaxir.retrieval.model import SIDES, encoder_of, settings
from jaxir.training.checkpoint import Model

MEAN = "mean"


class StsResult(NamedTuple):
    """``figures`` of each set, and of several their ``mean``: {set: {measure: value}}.

    The measures are spearman and pearson; of a hybrid encoder "spearman dense", ... for each of its parts.
    """

    figures: dict[str, dict[str, float]]
    pairs: dict[str, int]  # of each set
    side: str
    seconds: float  # encoding and measuring
    notes: tuple[str, ...]


def evaluate_sts(
    model: Model,
    sets: Sequence[StsSet],
    *,
    side: str = "query",
    mesh: Mesh | None = None,
    progress: bool = True,
) -> StsResult:
    """Encodes each sentence once and correlates cosines with gold scores, set by set.

    Args:
      model: of :func:`jaxir.training.checkpoint.load_model`; dense, sparse or hybrid.
      side: how both sentences of a pair are encoded, with this side's prefix and longest input.
      mesh: devices to encode on; None = the first one.

    Raises:
      InputError: no set, two of one name, an encoder of one vector per token, or one that gives all pairs of
        a set the same cosine.
    """
    check_known("side", side, SIDES)
    names = check_sets(sets)
    began = time.perf_counter()
    rows = sentence_rows(sets)
    figures: dict[str, dict[str, float]] = {name: {} for name in names}
    for part in model.encoder.parts or (None,):
        vectors = encode_sentences(model, list(rows), part=part, side=side, mesh=mesh, progress=progress)
        for name, found in figures_of(sets, rows, vectors).items():
            figures[name] |= {f"{m} {part}" if part else m: value for m, value in found.items()}
    if len(sets) > 1:
        measures = figures[names[0]]
        figures[MEAN] = {m: sum(figures[name][m] for name in names) / len(names) for m in measures}
    seconds = time.perf_counter() - began
    notes = warnings_of(sets, trained_on=json.dumps(model.config, default=str))
    return StsResult(figures, {one.name: len(one.gold) for one in sets}, side, seconds, tuple(notes))


def check_sets(sets: Sequence[StsSet]) -> list[str]:
    """The names of the sets.

    Raises:
      InputError: there is none, or two have one name.
    """
    names = [one.name for one in sets]
    if not sets:
        raise InputError("there is no set of sentence pairs to evaluate on")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two files are both named {name}: put them into folders of different names")
    return names


def sentence_rows(sets: Sequence[StsSet]) -> dict[str, int]:
    """Every sentence of all sets once, with the row that its vector has."""
    sentences = dict.fromkeys(text for one in sets for text in (*one.first, *one.second))
    return {text: row for row, text in enumerate(sentences)}


def encode_sentences(
    model: Model,
    sentences: list[str],
    *,
    part: str | None = None,
    side: str = "query",
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Any:
    """The vectors [n, d] of sentences, an array or sparse rows."""
    how = settings(model, side, part)
    return encode.encode_texts(
        encode.make_encode_fn(encoder_of(model, part), model.params, side=side, mesh=mesh),
        sentences,
        encode.make_tokenize_fn(model.tokenizer, prefix=how["prefix"], max_length=how["max_length"]),
        max_length=how["max_length"],
        desc="sentences" if progress else None,
    )


def figures_of(sets: Sequence[StsSet], rows: dict[str, int], vectors: Any) -> dict[str, dict[str, float]]:
    """{set: {measure: value}} by the vectors of :func:`sentence_rows`."""
    figures = {}
    for one in sets:
        pairs = ([rows[text] for text in texts] for texts in (one.first, one.second))
        try:
            figures[one.name] = sts_figures(*(vectors[at] for at in pairs), one.gold)
        except InputError as error:
            raise InputError(f"{one.name}: {error}") from error
    return figures


def show(result: StsResult) -> None:
    """Prints the table to standard output."""
    from jaxir.evaluation import terminal

    rows = [[[(cell, "bold" if row[0] == MEAN else "")] for cell in row] for row in _rows(result)]
    terminal.show_table(_header(result), rows, title=_title(result))


def write_sts_report(out_dir: PathLike, result: StsResult, *, model: Model) -> pathlib.Path:
    """Writes ``results.json`` and the page ``sts.md``, which it returns.

    The folder appears whole or not at all, and replaces an older report, never another folder.

    Raises:
      InputError: ``out_dir`` holds something that is not a report.
    """
    out = pathlib.Path(out_dir)
    check_replaceable(out)
    with new_directory(out, overwrite=True) as work:
        write_json(work / "results.json", {"model": model.fingerprint, **result._asdict()})
        table = [_header(result), ["---", *["---:"] * (len(_header(result)) - 1)], *_rows(result)]
        lines = [f"# {_title(result)}", "", *(f"| {' | '.join(row)} |" for row in table), ""]
        lines += [f"- {note}" for note in result.notes]
        write_text(work / "sts.md", "\n".join(lines).rstrip() + "\n")
        write_manifest(work, "report", title=_title(result))
    return out / "sts.md"


def _title(result: StsResult) -> str:
    side = {"query": "queries", "doc": "documents"}[result.side]
    return f"Similarity of sentences, by cosine, encoded as {side}"


def _header(result: StsResult) -> list[str]:
    return ["set", "pairs", *next(iter(result.figures.values()))]


def _rows(result: StsResult) -> list[list[str]]:
    counts: dict[str, Any] = {**{name: f"{n:,}" for name, n in result.pairs.items()}, MEAN: ""}
    return [
        [name, counts[name], *(f"{value:.4f}" for value in values.values())]
        for name, values in result.figures.items()
    ]
