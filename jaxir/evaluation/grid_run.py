"""One run of a grid, in a process of its own: ``python -m jaxir.evaluation.grid_run SPEC.json``."""

from __future__ import annotations

import pathlib
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from jaxir.checks import InputError
from jaxir.config import load_config, override
from jaxir.data import prepared as store
from jaxir.evaluation.chain import evaluate_chain
from jaxir.evaluation.chain_report import write_chain_report
from jaxir.evaluation.grid_execution import DONE, done_of
from jaxir.files import read_json, write_json
from jaxir.training.build import IDF
from jaxir.training.checkpoint import load_model
from jaxir.training.compiled import keep_compiled
from jaxir.training.model import CHECKPOINTS, TOKENIZER
from jaxir.training.train import train


def main(argv: Sequence[str]) -> None:
    """Exits with 0, or with 2 after one sentence on standard error."""
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    try:
        perform(read_json(argv[0]))
    except (InputError, FloatingPointError) as error:
        print(f"jaxir: {error}", file=sys.stderr)
        sys.exit(2)


def perform(spec: Mapping[str, Any]) -> None:
    """Trains and evaluates; what is done already is not done again."""
    workdir = pathlib.Path(spec["workdir"])
    keep_compiled(spec["compiled"])
    config = load_config(spec["config"])
    for key, text in spec["overrides"]:
        override(config, key, text)
    ready: Mapping[str, str] = spec["prepared"]
    config.data.source = ready.get(config.data.source, config.data.source)
    config.checkpoint.keep = 1  # many runs, and each checkpoint holds three copies of the weights
    if not _is_trained(workdir, config.steps):
        _share(workdir, spec["donors"], vocabulary=not config.init_from)
        train(config, workdir)
    model = load_model(workdir, allow=None)  # the config is the user's own program
    evaluation = spec["evaluation"]
    split, measures = evaluation["split"], evaluation["measures"].split()
    for source in evaluation["sources"]:
        key = f"{source} {split}"
        if set(measures) <= set(done_of(workdir).get(key, {}).get("measures", ())):
            continue
        prepared = store.load(ready[source])
        bm25 = source in spec["bm25"]
        result = evaluate_chain(
            model,
            prepared,
            workdir,
            split=split,
            dev_split=None,
            measures=measures,
            depth=evaluation["depth"],
            bm25=bm25,
            hybrid=False,
        )
        home = next(iter(result.indexes.values())).parent
        write_chain_report(
            workdir / f"report-{home.name}-{split}",
            result,
            model=model,
            prepared=prepared,
            workdir=workdir,
            split=split,
        )
        write_json(workdir / DONE, {**done_of(workdir), key: {"measures": measures, "bm25": bm25}})
        for index in result.indexes.values():  # large, and made again in minutes
            for folder in (index, index.parent / "vectors"):
                shutil.rmtree(folder, ignore_errors=True)
    if not evaluation["keep_models"]:
        shutil.rmtree(workdir / CHECKPOINTS)


def _is_trained(workdir: pathlib.Path, steps: int) -> bool:
    return (workdir / CHECKPOINTS / str(steps)).is_dir()


def _share(workdir: pathlib.Path, donors: Sequence[str], *, vocabulary: bool) -> None:
    """Takes over what another run of the same words has counted."""
    for name in (TOKENIZER, IDF) if vocabulary else (IDF,):
        for donor in donors:
            if (pathlib.Path(donor) / name).is_file() and not (workdir / name).exists():
                shutil.copyfile(pathlib.Path(donor) / name, workdir / name)


if __name__ == "__main__":
    main(sys.argv[1:])
