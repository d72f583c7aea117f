"""jaxir frontier: effectiveness against cost, of finished runs or of a grid that it trains.

Finished runs, which jaxir evaluate has measured; runs of one name make one line, those that differ in their
seed only make one point with its spread:

  jaxir frontier --run=flops=runs/flops-1e-4 --run=flops=runs/flops-1e-3 --run=dense=runs/dense \\
    --out=runs/frontier

A grid: each config with each value and seed is trained and evaluated, one after another:

  jaxir frontier --out=runs/frontier --seeds=0,1,2 \\
    --method=flops:inference_free:squad --method=l0:l0:squad --config.steps=1000 \\
    --vary=objective.doc_sparsity.weight.peak=3e-4,1e-3,3e-3,1e-2 \\
    --source=beir:data/squad --source=beir:data/scifact

--vary takes a field of the config and its values; with METHOD: before it, for that method alone. Several
make all combinations; one value sets the field. --config.KEY=VALUE sets it for all methods. A method whose
vectors are dense, and BM25, are drawn as levels.

Started again with the same command it goes on: what is done is not done again, what failed is tried again.
More methods, values, seeds and sources may be added. In --out: runs/ with a work directory and log.txt each,
figures.jsonl, and after each run anew frontier.png, frontier.md and frontier.json.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
from typing import Any

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import arguments, define_config

__all__ = ["arguments", "define", "run"]


def define(values: flags.FlagValues) -> None:
    define_config(values)
    flags.DEFINE_multi_string(
        "method", [], "NAME:CONFIG[:VARIANT], a line of the picture; once per method", flag_values=values
    )
    flags.DEFINE_multi_string(
        "vary",
        [],
        "[METHOD:]KEY=VALUE,VALUE,... of the config; commas in brackets are kept",
        flag_values=values,
    )
    flags.DEFINE_list("seeds", ["0"], "one run for each", flag_values=values)
    flags.DEFINE_multi_string(
        "run", [], "NAME=DIR, a work directory that jaxir evaluate has measured", flag_values=values
    )
    flags.DEFINE_multi_string(
        "source",
        [],
        "collection to evaluate on, as in jaxir prepare; once per collection (default: the one trained on)",
        flag_values=values,
    )
    flags.DEFINE_string("split", "test", "whose queries are searched", flag_values=values)
    flags.DEFINE_string(
        "measures", "nDCG@10 MRR@10 R@100", "names that ir-measures knows", flag_values=values
    )
    flags.DEFINE_string("plot", None, "measure of the picture (default: the first nDCG)", flag_values=values)
    flags.DEFINE_integer("depth", 100, "documents per query", flag_values=values, lower_bound=1)
    flags.DEFINE_bool("bm25", True, "measure BM25 beside the grid", flag_values=values)
    flags.DEFINE_bool(
        "keep_models", True, "keep the weights of a grid's runs after they were measured", flag_values=values
    )
    flags.DEFINE_bool("dry_run", False, "only list the runs of the grid", flag_values=values)
    flags.DEFINE_string("out", None, "directory to write", flag_values=values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir frontier takes flags only, not {positional[0]!r}; a run is --run=NAME=DIR")
    if not values.out:
        raise InputError("give --out=DIR, where the picture and the runs of a grid go")
    if not (values.run or values.method or values.config):
        raise InputError(
            "give --run=NAME=DIR, finished runs, or --config or --method=NAME:CONFIG, a grid to train"
        )
    from jaxir.evaluation import frontier, measures

    measures.parse(values.measures)  # before anything slow
    if values.plot:
        measures.parse(values.plot)
    points = [point for name, path in _named(values.run) for point in frontier.read_run(path, name)]
    failures: list[str] = []
    if values.method or values.config:
        found, failures = _grid(values, points)
        if values.dry_run:
            return
        points += found
    if points:
        groups = frontier.write(values.out, points, measures=values.measures.split(), measure=values.plot)
        print(frontier.to_markdown(groups, values.measures.split()))
        print(f"picture and table: {pathlib.Path(values.out) / 'frontier.png'}, frontier.md, frontier.json")
    if failures:
        print(f"{len(failures)} runs failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)


def _named(given: list[str]) -> list[tuple[str | None, str]]:
    """``["flops=runs/a", "runs/b"]`` -> ``[("flops", "runs/a"), (None, "runs/b")]``."""
    pairs: list[tuple[str | None, str]] = []
    for text in given:
        name, equals, path = text.partition("=")
        whole = not equals or pathlib.Path(text).exists()  # a directory may have = in its name
        pairs.append((None, text) if whole else (name, path))
    return pairs


def _grid(values: flags.FlagValues, points: list[Any]) -> tuple[list[Any], list[str]]:
    from jaxir.data.prepare import prepare_spec
    from jaxir.evaluation import frontier, grid
    from jaxir.evaluation.grid_execution import Evaluation, execute, is_done

    out = pathlib.Path(values.out)
    methods = grid.parse_methods(values.method, values.vary, values.config)
    overrides = []
    for setting in values.override:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--config.{key} has no value; write --config.{key}=VALUE")
        overrides.append((key, text))
    seeds = _seeds(values.seeds)
    runs = grid.plan(methods, seeds, out, overrides=tuple(overrides))
    configs = {run.method: grid.resolved(run.config, run.overrides) for run in runs}
    trained_on = [config["data"]["source"] for config in configs.values() if not config["data"]["sources"]]
    sources = tuple(dict.fromkeys(values.source or trained_on))
    if not sources:
        raise InputError("give --source=..., the collections to evaluate on")
    if values.dry_run:
        for planned in runs:
            print(f"{planned.workdir}: jaxir train --config={planned.config}", end="")
            print("", *(f"--config.{key}={text!r}" for key, text in planned.overrides))
        return [], []
    prepared = {
        source: str(prepare_spec(source, out / "data").path.absolute())
        for source in dict.fromkeys((*sources, *trained_on))
    }
    evaluation = Evaluation(
        sources, values.split, values.measures, values.depth, values.bm25, values.keep_models
    )
    chosen = dict(measures=values.measures.split(), measure=values.plot)

    def finished() -> list[Any]:
        done = [run for run in runs if is_done(run, evaluation)]
        found = [point for run in done for point in frontier.read_run(run.workdir)]
        return [*frontier.levels(out, found), *found]

    def draw() -> None:
        with contextlib.suppress(InputError):  # of runs that do not fit together one hears at the end
            frontier.write(out, [*points, *finished()], **chosen)

    failures = execute(runs, evaluation, out, prepared=prepared, after=draw)
    return finished(), failures


def _seeds(given: list[str]) -> list[int]:
    try:
        return [int(text) for text in given]
    except ValueError as error:
        raise InputError(f"--seeds={','.join(given)} are not whole numbers, such as --seeds=0,1,2") from error
