"""A grid of training runs: methods, values of their configs' fields, seeds. Planned, run, gone on with.

Every run is a work directory below ``OUT/runs``. It is trained and evaluated by a process of its own, so that
what fails there (memory, a loss that becomes NaN, a mistake in one config) costs that run alone.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from jaxir.checks import InputError, check_known
from jaxir.config import load_config, override
from jaxir.evaluation.frontier import FACTS, read_report
from jaxir.files import PathLike, fingerprint, read_json, write_json
from jaxir.training.defaults import HARMLESS

Setting = tuple[tuple[str, str], ...]
"""((key of the config, value as text), ...)"""

RUN, DONE = "frontier_run.json", "frontier_done.json"


class Method(NamedTuple):
    """A line of the picture: a config and the values that its fields take."""

    name: str
    config: str  # as for jaxir train
    vary: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (key, values); several: all combinations


class Planned(NamedTuple):
    """One run of the grid."""

    method: str
    setting: str  # what is varied, as text; the same for all seeds
    seed: int
    config: str
    overrides: Setting
    workdir: pathlib.Path
    fingerprint: str  # of the whole config
    words: str  # of what decides the vocabulary and its counts, which runs share


class Evaluation(NamedTuple):
    """What every run is evaluated on, and how."""

    sources: tuple[str, ...]
    split: str = "test"
    measures: str = "nDCG@10 MRR@10 R@100"
    depth: int = 100
    bm25: bool = True
    keep_models: bool = True  # False: weights are deleted once every source is measured


def parse_methods(given: Sequence[str], vary: Sequence[str], config: str | None = None) -> list[Method]:
    """The command line's words: ``NAME:CONFIG[:VARIANT]``, and ``[NAME:]KEY=VALUE,VALUE,...``.

    >>> parse_methods(["l0:splade:squad"], ["l0:seed=1,2", "config.steps=9"])
    [Method(name='l0', config='splade:squad', vary=(('seed', ('1', '2')), ('steps', ('9',))))]

    Raises:
      InputError: a malformed word, a method that is named twice or not at all.
    """
    configs: dict[str, str] = {}
    for text in given:
        name, colon, rest = text.partition(":")
        if not colon or not name or not rest:
            raise InputError(f"--method={text} is not NAME:CONFIG, such as --method=flops:splade:squad")
        if name in configs:
            raise InputError(f"two methods are named {name!r}; a line of the picture has one name")
        configs[name] = rest
    if config:
        configs.setdefault(config.partition(":")[0].rpartition("/")[2].removesuffix(".py"), config)
    varied: dict[str, list[tuple[str, tuple[str, ...]]]] = {name: [] for name in configs}
    for text in vary:
        key, equals, values = text.partition("=")
        name, colon, rest = key.partition(":")
        if not equals or not values or (colon and not rest):
            raise InputError(f"--vary={text} is not [METHOD:]KEY=VALUE,VALUE,...")
        if colon:
            check_known("method in --vary", name, configs)
        for one in [name] if colon else configs:
            varied[one].append(((rest if colon else key).removeprefix("config."), split_values(values)))
    return [Method(name, configs[name], tuple(varied[name])) for name in configs]


def split_values(text: str) -> tuple[str, ...]:
    """Values between commas; commas inside of brackets and quotes belong to a value.

    >>> split_values("1e-3,(1, 2),'a,b'")
    ('1e-3', '(1, 2)', "'a,b'")
    """
    parts = re.findall(r"(?:[^,(\[{'\"]|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|'[^']*'|\"[^\"]*\")+", text)
    return tuple(part.strip() for part in parts if part.strip())


def plan(
    methods: Sequence[Method], seeds: Sequence[int], out: PathLike, *, overrides: Setting = ()
) -> list[Planned]:
    """Every run of the grid, those of one seed together, so that a picture of all settings comes early.

    Each config is read and overridden here: a mistake is known before the first run.

    Raises:
      InputError: no method or seed, a mistake in a config, or a directory that holds another run.
    """
    if not methods or not seeds or len(set(seeds)) < len(seeds):
        raise InputError("a grid needs at least one --config or --method, and different --seeds")
    runs = []
    for seed, method in itertools.product(seeds, methods):
        keys = [key for key, _ in method.vary]
        shown = [key for key, values in method.vary if len(values) > 1]
        for values in itertools.product(*(values for _, values in method.vary)):
            setting = tuple(zip(keys, values))
            name = " ".join(f"{_short(key, shown)}={v}" for key, v in setting if key in shown)
            folder = re.sub(
                r"[^A-Za-z0-9=.+-]+", "_", "-".join(filter(None, (method.name, name, f"seed{seed}")))
            )
            changes = (*overrides, *setting, ("seed", str(seed)))
            config = resolved(method.config, changes)
            mark = fingerprint({k: v for k, v in config.items() if k not in HARMLESS})
            workdir = pathlib.Path(out) / "runs" / folder
            marks = mark, fingerprint(*_words(config))
            runs.append(Planned(method.name, name, seed, method.config, changes, workdir, *marks))
    for run in runs:
        _check_same(run)
    if len({run.workdir for run in runs}) < len(runs):
        raise InputError("two runs of the grid would have the same name; give each value once")
    return runs


def resolved(config: str, overrides: Setting) -> dict[str, Any]:
    """The whole config of a run."""
    found = load_config(config)
    for key, text in overrides:
        override(found, key, text)
    return json.loads(json.dumps(found.to_dict(), default=str))


def _words(config: Mapping[str, Any]) -> list[Any]:
    data = {key: config["data"].get(key) for key in ("source", "sources", "doc_text")}
    return [data, config["max_length"]["doc"], *(config.get(k) for k in ("tokenizer", "idf", "init_from"))]


def _short(key: str, among: Sequence[str]) -> str:
    """The end of a key that no other key has, without what all weights are called."""
    parts = key.removesuffix(".weight.peak").removesuffix(".weight").removeprefix("objective.").split(".")
    last = parts[-1]
    return last if sum(last in other.split(".") for other in among) == 1 else ".".join(parts)


def _check_same(run: Planned) -> None:
    file = run.workdir / FACTS
    if file.is_file() and read_json(file).get("fingerprint") != run.fingerprint:
        raise InputError(
            f"{run.workdir} holds a run of another config than {run.config} with these settings; choose "
            "another --out, or delete that directory"
        )


def execute(
    runs: Sequence[Planned], evaluation: Evaluation, out: PathLike, *, prepared: Mapping[str, str]
) -> list[str]:
    """Trains and evaluates what is not done yet; returns a sentence for each run that failed.

    ``out/figures.jsonl`` gets a line for every evaluation, and for every failure, as they come.

    Args:
      prepared: the directory of each source that was prepared already, by the source's name.
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
