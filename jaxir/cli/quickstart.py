"""jaxir quickstart [--workdir=DIR] [--fast]

The whole job on real text that every machine has: the docstrings of the Python packages installed next
to jaxir. Prepares the data set, trains a tokenizer and an encoder from scratch, encodes the corpus,
builds an exact and a ScaNN index, evaluates BM25, both indexes and the hybrid on held-out queries,
writes a report, and answers one query. No network, no GPU.

example:
  jaxir quickstart --workdir=runs/quickstart
"""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Iterator

from absl import flags

from jaxir.checks import InputError

QUERY = "solve a linear system"
# ScaNN would search about 8,000 documents by brute force; the tree, the asymmetric hashing and the
# reordering are forced, so that its recall says something of them.
SCANN = {"force_tree": True}


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", "runs/quickstart", "where everything is kept", flag_values=values)
    flags.DEFINE_bool("fast", False, "the 30-second version: fewer steps", flag_values=values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"quickstart takes no argument {positional[0]!r}; flags begin with --")
    workdir = pathlib.Path(values.workdir)
    seconds: dict[str, float] = {}
    began = time.perf_counter()

    with _clock(seconds, "import"):
        from jaxir.cli import search
        from jaxir.config import load_config
        from jaxir.data.prepare import prepare_spec
        from jaxir.evaluation import table
        from jaxir.evaluation.chain import evaluate_chain
        from jaxir.evaluation.chain_report import write_chain_report
        from jaxir.training.checkpoint import load_model
        from jaxir.training.compiled import keep_compiled
        from jaxir.training.train import train

    keep_compiled(workdir)
    config = load_config("quickstart:fast" if values.fast else "quickstart")
    with _clock(seconds, "prepare"):
        prepared = prepare_spec(config.data.source, workdir / "data")
    with _clock(seconds, "train"):
        train(config, workdir)
    model = load_model(workdir)
    result = evaluate_chain(model, prepared, workdir, kinds=("exact", "scann"), scann_options=SCANN)
    seconds.update(result.seconds)

    title = f"jaxir quickstart: {len(result.qrels):,} held-out queries, {len(prepared.docs):,} documents"
    print()
    table.show(result.table, title=title)
    for note in result.notes:
        print(note)
    seconds["total"] = time.perf_counter() - began
    page = write_chain_report(
        workdir / "report",
        result,
        model=model,
        prepared=prepared,
        workdir=workdir,
        title=title,
        seconds=seconds,
    )
    print(f"\nreport: {page}")
    print(f"\n$ jaxir search --workdir={workdir} {QUERY!r}")
    search.search(workdir, None, QUERY, k=5)
    print(f"\n{time.perf_counter() - began:.0f} s in all; training took {seconds['train']:.0f} s of them")


@contextlib.contextmanager
def _clock(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
