"""``jaxir evaluate --run``: runs from anywhere against judgements, side by side."""

from __future__ import annotations

import pathlib

from absl import flags

from jaxir.checks import InputError, check_known


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_multi_string("run", [], "TREC run file, or NAME=FILE; once per run", flag_values=values)
    flags.DEFINE_string("qrels", None, "judgements, TREC or BEIR tsv", flag_values=values)


def run(values: flags.FlagValues) -> None:
    if values.workdir:
        raise InputError("give --run (with --qrels) or --workdir (with --source), not both")
    if values.distributed:
        raise InputError("--distributed is for the chain (--workdir); files of runs need one process only")
    if not values.qrels:
        raise InputError("--run needs --qrels=FILE, the judgements to measure against")

    from jaxir.evaluation import measures, qrels, table
    from jaxir.retrieval import runs

    measures.parse(values.measures)  # before anything slow
    files = named_files(values.run)
    baseline = values.baseline or next(iter(files))
    check_known("baseline run", baseline, files)
    judged = qrels.read(values.qrels)
    found = {name: runs.read(path) for name, path in files.items()}
    scores = measures.measure_runs(found, judged, values.measures)
    made = table.build(scores.figures, per_query=scores.per_query, baseline=baseline)
    table.show(made, title=f"{pathlib.Path(values.qrels).name}: {len(judged):,} queries")
    for note in scores.notes:
        print(f"note: {note}")
    if values.report:
        from jaxir.evaluation.report import write_report

        page = write_report(
            values.report,
            title=f"Runs against {values.qrels}",
            runs=scores.figures,
            per_query=scores.per_query,
            baseline=baseline,
            results={"corpus": {"judged queries": len(judged)}},
            notes=scores.notes,
        )
        print(f"report: {page}")


def named_files(given: list[str]) -> dict[str, str]:
    """``["bm25=a.trec", "runs/b.trec.gz"]`` -> ``{"bm25": "a.trec", "b": "runs/b.trec.gz"}``."""
    files: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or pathlib.Path(text).exists():  # a file may have = in its name
            name, path = pathlib.Path(text.removesuffix(".gz")).stem, text
        if name in files:
            raise InputError(f"{files[name]} and {path} are both named {name!r}; name one: --run=NAME={path}")
        files[name] = path
    return files
