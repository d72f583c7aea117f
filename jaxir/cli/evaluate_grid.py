"""``jaxir evaluate --grid``: every size of an encoder, in one pass over the collection."""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import local_mesh, open_model, sizes_flag, start_processes

OTHERS = {
    "run": "a grid is of an encoder",
    "qrels": "the judgements are those of --source",
    "kind": "--grid searches exactly",
    "baseline": "a grid has no runs to compare",
    "rerank_dims": "a funnel is one search at two sizes",
    "rerank": "a funnel is one search at two sizes",
}


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_bool("grid", False, "measure every size: all --layers with all --dims", flag_values=values)
    flags.DEFINE_enum("part", None, ["dense", "sparse"], "of a hybrid, with --grid", flag_values=values)


def run(values: flags.FlagValues) -> None:
    if not values.workdir:
        raise InputError(
            "--grid needs --workdir=DIR, where a run was trained, or --model=... with any --workdir=DIR; and "
            "--source=..., the collection to search"
        )
    for name, why in OTHERS.items():
        if values[name].value:
            raise InputError(f"{why}: leave --{name} out, or --grid")
    if not values.source:
        raise InputError("--workdir needs --source=..., the collection to search")
    layers, dims = sizes_flag(values, "layers"), sizes_flag(values, "dims")
    start_processes(values)

    from jaxir import processes
    from jaxir.data.prepare import prepare_spec
    from jaxir.evaluation import measures, sizes

    measures.parse(values.measures)  # before anything slow
    workdir = pathlib.Path(values.workdir)
    model = open_model(values)
    with processes.first_then_others("prepare"):
        prepared = prepare_spec(values.source, workdir / "data", allow=None)
    found = sizes.evaluate_sizes(
        model,
        prepared,
        workdir,
        layers=layers,
        dims=dims,
        part=values.part,
        split=values.split,
        measures=values.measures,
        depth=values.depth,
        bm25=values.bm25,
        language=values.language,
        mesh=local_mesh(),
        progress=processes.is_first(),
    )
    if processes.is_first():
        _show(values, found, model=model, prepared=prepared)
    processes.barrier("report")  # no process ends while another still works


def _show(values: flags.FlagValues, found: Any, *, model: Any, prepared: Any) -> None:
    from jaxir.evaluation import sizes_report

    title = f"{model.config.get('name') or 'encoder'} on {prepared.name}: {found.queries:,} queries of "
    title += f"{values.split}, {found.docs:,} documents"
    sizes_report.show(found, title=title)
    for note in (*found.notes, *sizes_report.loss_notes(found)):
        print(f"note: {note}")
    seconds = ", ".join(f"{name} {value:,.1f} s" for name, value in found.seconds.items())
    print(f"time: {seconds}")
    out = sizes_report.write_sizes_report(
        values.report or pathlib.Path(values.workdir) / f"report-{found.home.name}-{values.split}-sizes",
        found,
        title=title,
        facts={"model": model.fingerprint, "source": prepared.name, "split": values.split},
    )
    print(f"report: {out / 'grid.png'}, sizes.md, sizes.csv, sizes.json")
