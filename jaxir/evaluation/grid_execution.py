"""Runs a grid: what is not done yet is trained and evaluated, one run after another.

Every run is a work directory below ``OUT/runs``. It has a process of its own, so that what fails there
(memory, a loss that becomes NaN, a mistake in one config) costs that run alone.
"""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from jaxir.evaluation.frontier import FACTS, read_report
from jaxir.evaluation.grid import Planned
from jaxir.files import PathLike, read_json, write_json

RUN, DONE = "frontier_run.json", "frontier_done.json"


class Evaluation(NamedTuple):
    """What every run is evaluated on, and how."""

    sources: tuple[str, ...]
    split: str = "test"
    measures: str = "nDCG@10 MRR@10 R@100"
    depth: int = 100
    bm25: bool = True
    keep_models: bool = True  # False: weights are deleted once every source is measured


def execute(
    runs: Sequence[Planned],
    evaluation: Evaluation,
    out: PathLike,
    *,
    prepared: Mapping[str, str],
    after: Callable[[], None] = lambda: None,
) -> list[str]:
    """Trains and evaluates what is not done yet; returns a sentence for each run that failed.

    ``out/figures.jsonl`` gets a line for every evaluation, and for every failure, as they come.

    Args:
      prepared: the directory of each source that was prepared already, by the source's name.
      after: called after every run that succeeded, such as to draw what there is.
    """
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    failures, durations = [], []
    with (out / "figures.jsonl").open("a", encoding="utf-8") as log:
        todo = [run for run in runs if not is_done(run, evaluation)]
        if len(todo) < len(runs):
            print(f"{len(runs) - len(todo)} of {len(runs)} runs are done already", file=sys.stderr)
        for number, run in enumerate(todo, start=1):
            title = " ".join(filter(None, (run.method, run.setting, f"seed {run.seed}")))
            print(f"[{number}/{len(todo)}] {title}: {run.workdir}", file=sys.stderr, flush=True)
            began = time.perf_counter()
            error = _run(run, evaluation, out, prepared)
            durations.append(time.perf_counter() - began)
            facts = {"method": run.method, "setting": run.setting, "seed": run.seed, "path": str(run.workdir)}
            if error:
                failures.append(f"{title}: {error}")
                rows = [{**facts, "status": "failed", "error": error}]
                print(f"failed: {error}", file=sys.stderr)
            else:
                points = [p for report in reports(run) for p in read_report(report, facts)]
                rows = [{**p._asdict(), "status": "ok"} for p in points if p.method == run.method]
                for row in rows:
                    shown = {**row["measures"], **{k: v for k, v in row["costs"].items() if k == "FLOPS"}}
                    figures = "  ".join(f"{k} {v:.4g}" for k, v in shown.items())
                    print(f"  {row['source']}: {figures}", file=sys.stderr)
            for row in rows:
                log.write(json.dumps({**row, "seconds": round(durations[-1], 1)}, ensure_ascii=False) + "\n")
            log.flush()
            if not error:
                after()
            left = (len(todo) - number) * sum(durations) / len(durations)
            print(f"  {durations[-1]:.0f} s; about {_span(left)} left", file=sys.stderr, flush=True)
    return failures


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"


def _run(run: Planned, evaluation: Evaluation, out: pathlib.Path, prepared: Mapping[str, str]) -> str:
    """Runs one in its own process; '' or what went wrong."""
    run.workdir.mkdir(parents=True, exist_ok=True)
    facts = {"method": run.method, "setting": run.setting, "seed": run.seed}
    write_json(run.workdir / FACTS, {**facts, "fingerprint": run.fingerprint, "words": run.words})
    measured = _with_bm25(evaluation, out) if evaluation.bm25 else evaluation.sources
    write_json(
        run.workdir / RUN,
        {
            "config": run.config,
            "overrides": list(run.overrides),
            "workdir": str(run.workdir),
            "evaluation": evaluation._asdict(),
            "prepared": dict(prepared),
            "compiled": str(out),
            "bm25": [source for source in evaluation.sources if source not in measured],
            "donors": [str(path) for path in _siblings(run, out)],
        },
    )
    return call([sys.executable, "-m", "jaxir.evaluation.grid_run", str(run.workdir / RUN)], run.workdir)


def call(command: Sequence[str], workdir: pathlib.Path) -> str:
    """Runs a command, showing what it says and keeping it in ``workdir/log.txt``; '' or what went wrong."""
    with (
        (workdir / "log.txt").open("ab") as log,
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process,
    ):
        try:
            tail = _shown(process.stderr, log) if process.stderr else b""
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return ""
    if process.returncode < 0:
        return f"ended by signal {-process.returncode} (9 is often too little memory); see {workdir}/log.txt"
    lines = re.split(r"[\r\n]+", tail.decode("utf-8", "replace").strip())
    return lines[-1].removeprefix("jaxir: ") or f"exit code {process.returncode}"


def _shown(stream: IO[bytes], log: IO[bytes]) -> bytes:
    """Passes the output on to the terminal and the log as it comes; returns its end."""
    tail = b""
    while piece := stream.read1(1 << 16):  # type: ignore[attr-defined]
        sys.stderr.write(piece.decode("utf-8", "replace"))
        sys.stderr.flush()
        log.write(piece)
        tail = (tail + piece)[-4096:]
    return tail


def reports(run: Planned) -> list[pathlib.Path]:
    """The finished reports of a run."""
    return sorted(file.parent for file in run.workdir.glob("report-*/results.json"))


def is_done(run: Planned, evaluation: Evaluation) -> bool:
    """Whether every source was evaluated, with all of the measures."""
    done = done_of(run.workdir)
    return all(
        set(evaluation.measures.split())
        <= set(done.get(f"{source} {evaluation.split}", {}).get("measures", ()))
        for source in evaluation.sources
    )


def done_of(workdir: pathlib.Path) -> dict[str, Any]:
    """What was evaluated: "SOURCE SPLIT" -> its measures, and whether BM25 was measured with it."""
    file = workdir / DONE
    return read_json(file) if file.is_file() else {}


def _siblings(run: Planned, out: pathlib.Path) -> Iterator[pathlib.Path]:
    """Other runs with the same words, which may have their vocabulary already."""
    for file in sorted((out / "runs").glob(f"*/{FACTS}")):
        if file.parent != run.workdir and read_json(file).get("words") == run.words:
            yield file.parent


def _with_bm25(evaluation: Evaluation, out: pathlib.Path) -> list[str]:
    """The sources on which some run has measured BM25, which is the same for all."""
    wanted = set(evaluation.measures.split())
    done = [done_of(file.parent) for file in (out / "runs").glob(f"*/{DONE}")]
    return [
        source
        for source in evaluation.sources
        if any(
            one.get("bm25") and wanted <= set(one["measures"])
            for one in (d.get(f"{source} {evaluation.split}", {}) for d in done)
        )
    ]
