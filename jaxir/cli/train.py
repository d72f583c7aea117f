"""jaxir train --config=FILE_OR_NAME[:VARIANT] [--config.KEY=VALUE ...] --workdir=DIR

Trains an encoder. Configs are found by name (quickstart, dense) or by path; any of their fields can be
changed on the command line. Started again with the same command, a run goes on where it was.

example:
  jaxir train --config=dense:squad --config.steps=2000 --config.optimizer.learning_rate=3e-4 \\
    --workdir=runs/squad

On several hosts every process runs the same command with --distributed=auto (TPU pod, SLURM, Open MPI,
GKE), or with --distributed=HOST:PORT --process_count=N --process_index=I. docs/scale.md has the rest.
"""

from __future__ import annotations

from absl import flags

from jaxir import processes
from jaxir.checks import InputError
from jaxir.cli.shared import (
    arguments,  # noqa: F401  (called by main)
    define_config,
    define_processes,
    read_config,
    start_processes,
)


def define(values: flags.FlagValues) -> None:
    define_config(values)
    flags.DEFINE_string("workdir", None, "where everything of this run is kept", flag_values=values)
    flags.DEFINE_bool("progress", True, "progress bars", flag_values=values)
    define_processes(values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"train takes no argument {positional[0]!r}; a field is set by --config.KEY=VALUE")
    start_processes(values, preemptible=True)  # first: what fails from here on is told to all
    config = read_config(values)
    if not values.workdir:
        raise InputError("give --workdir=DIR, where everything of this run is kept")

    from jaxir.training.compiled import keep_compiled
    from jaxir.training.train import train

    keep_compiled(values.workdir)
    state = train(config, values.workdir, progress=values.progress)
    if not processes.is_first():
        return
    print(f"trained to step {int(state.step)} of {config.steps} in {values.workdir}")
    to = "rerank --out=reranked.trec" if config.data.pairs == "joined" else "evaluate"
    print(f"next: jaxir {to} --workdir={values.workdir} --source={config.data.source}")
