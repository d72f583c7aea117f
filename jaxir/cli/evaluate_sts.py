"""``jaxir evaluate --sts``: an encoder's cosines beside people's judgements of similarity."""

from __future__ import annotations

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.evaluate_size import at_size
from jaxir.cli.shared import open_model, sizes_flag


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_multi_string(
        "sts", [], "tsv file of sentence pairs, or directory of folders with a test.tsv", flag_values=values
    )
    flags.DEFINE_enum(
        "sts_side", "query", ["query", "doc"], "how both sentences of a pair are encoded", flag_values=values
    )


def run(values: flags.FlagValues) -> None:
    for name in ("run", "qrels", "source", "kind", "rerank_dims", "rerank", "distributed"):
        if values[name].value:
            raise InputError(
                f"--sts needs no --{name}: give --workdir=DIR, where a run was trained, or --model"
            )
    if not values.workdir and not values.model:
        raise InputError("--sts needs --workdir=DIR, where a run was trained, or --model=...")

    from jaxir.evaluation import sts, sts_run

    sets = [sts.read_sts(path) for path in sts.find_sts(values.sts)]  # before anything slow
    model = open_model(values)
    if values.grid:
        from jaxir.evaluation import sts_sizes

        sizes = {name: sizes_flag(values, name) for name in ("layers", "dims")}
        grid = sts_sizes.evaluate_sts_sizes(model, sets, **sizes, part=values.part, side=values.sts_side)
        result, show, write = grid, sts_sizes.show, sts_sizes.write_sts_sizes_report
    else:
        model = at_size(values, model)
        result = sts_run.evaluate_sts(model, sets, side=values.sts_side)
        show, write = sts_run.show, sts_run.write_sts_report
    show(result)
    for note in result.notes:
        print(f"note: {note}")
    if values.report:
        print(f"report: {write(values.report, result, model=model)}")
