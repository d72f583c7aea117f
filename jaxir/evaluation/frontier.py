"""Effectiveness against cost: finished runs as points, repeated seeds as one point with its spread.

Every point is read from a report of ``jaxir evaluate``. Methods whose representations have no terms (dense
vectors, BM25) have no FLOPS: they are levels to compare with.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxir.checks import InputError
from jaxir.files import PathLike, fingerprint, read_json, write_json, write_text
from jaxir.training.defaults import HARMLESS

FACTS = "frontier.json"
"""In the work directory of a run of a grid: its method, settings and seed."""

BM25 = "BM25"
COST = "FLOPS"
_REPORT = re.compile(r"report-(?P<source>.+)-[0-9a-f]{8}-(?P<split>.+)")
# Not what a run's model found by itself: those are taken from no run, or once for all.
_NOT_OWN = ("bm25", "hybrid")


class Point(NamedTuple):
    """One run on one collection."""

    method: str
    setting: str  # equal for runs that differ in their seed only; "" where a method has one setting
    seed: int
    source: str
    split: str
    measures: dict[str, float]
    costs: dict[str, float]  # of jaxir.evaluation.sparsity.summary; empty for dense vectors
    path: str


class Group(NamedTuple):
    """The runs of one method, setting and collection, over their seeds."""

    method: str
    setting: str
    source: str
    split: str
    seeds: tuple[int, ...]
    mean: dict[str, float]  # measures and costs
    spread: dict[str, float]  # sample standard deviation; none of a single run


def read_run(workdir: PathLike, name: str | None = None) -> list[Point]:
    """The points of a work directory: one for each report in it, and one for BM25 where a report has it.

    Args:
      name: the method's; by default what the grid noted, or the directory's name.

    Raises:
      InputError: no such directory, or no report in it.
    """
    home = pathlib.Path(workdir)
    if not home.is_dir():
        raise InputError(f"there is no directory {home}")
    found = [home] if (home / "results.json").is_file() else sorted(home.glob("report*"))
    reports = [path for path in found if (path / "results.json").is_file()]
    if not reports:
        raise InputError(
            f"{home} has no report: jaxir evaluate --workdir={home} --source=... measures what was trained"
        )
    facts = _facts(home if home not in reports else home.parent)
    points = []
    for report in reports:
        points += read_report(report, {**facts, **({"method": name} if name else {})})
    return points


def levels(out: PathLike, points: Iterable[Point]) -> list[Point]:
    """BM25 on the collections of ``points``, by whichever run of the grid in ``out`` measured it."""
    places = {(p.source, p.split) for p in points}
    files = sorted(pathlib.Path(out).glob("runs/*/report-*/results.json"))
    found = [p for file in files for p in read_report(file.parent, {"method": file.parent.name})]
    return [p for p in found if p.method == BM25 and (p.source, p.split) in places]


def read_report(report: pathlib.Path, facts: Mapping[str, Any]) -> list[Point]:
    """The points of one report: its model's, named by ``facts``, and BM25's."""
    results = read_json(report / "results.json")
    match = _REPORT.fullmatch(report.name)
    place = (match["source"], match["split"]) if match else (report.name, "test")
    runs = results.get("runs", {})
    points = []
    own = [name for name in runs if name not in _NOT_OWN]
    if own:
        # Of a hybrid the part that FLOPS are counted of; the approximate runs are no points of their own.
        best = next((name for name in ("sparse_exact", "dense_exact") if name in own), own[0])
        costs = next((v for v in results.values() if isinstance(v, dict) and COST in v), {})
        costs = {k: float(v) for k, v in costs.items() if isinstance(v, (int, float))}
        who = facts["method"], facts.get("setting", ""), int(facts.get("seed", 0))
        points.append(Point(*who, *place, dict(runs[best]), costs, str(report)))
    if "bm25" in runs:
        points.append(Point(BM25, "", 0, *place, dict(runs["bm25"]), {}, str(report)))
    return points


def _facts(home: pathlib.Path) -> dict[str, Any]:
    if (home / FACTS).is_file():
        return read_json(home / FACTS)
    if not (home / "config.json").is_file():
        return {"method": home.name}
    config = read_json(home / "config.json")
    free = {*HARMLESS, "seed", "fingerprint", "prepared", "start", "objective", "steps"}
    # A frontier varies the objective; what else differs is another setting as well.
    rest = fingerprint({k: v for k, v in config.items() if k not in free})
    setting = fingerprint(config.get("objective"), config.get("steps"), rest)[:6]
    return {"method": config.get("name") or home.name, "setting": setting, "seed": config.get("seed", 0)}


def group(points: Iterable[Point]) -> list[Group]:
    """Runs that differ in their seed only, together; in the order in which they come.

    A run that comes twice (BM25, once in every report) counts once.
    """
    together: dict[tuple[str, str, str, str], dict[int, Point]] = {}
    for p in points:
        seeds = together.setdefault((p.method, p.setting, p.source, p.split), {})
        if p.seed in seeds and p.method != BM25:
            raise InputError(
                f"{seeds[p.seed].path} and {p.path} are both {p.method} {p.setting} with seed {p.seed} on "
                f"{p.source}: give them different names, --run=NAME=DIR"
            )
        if p.seed not in seeds or len(seeds[p.seed].measures) < len(p.measures):
            seeds[p.seed] = p
    groups = []
    for key, seeds in together.items():
        rows = [{**p.measures, **p.costs} for p in seeds.values()]
        names = [name for name in rows[0] if all(name in row for row in rows)]
        values = {name: np.array([row[name] for row in rows], np.float64) for name in names}
        mean = {name: float(x.mean()) for name, x in values.items()}
        spread = {name: float(x.std(ddof=1)) for name, x in values.items()} if len(rows) > 1 else {}
        groups.append(Group(*key, tuple(sorted(seeds)), mean, spread))
    return groups


def check_measure(groups: Sequence[Group], measure: str) -> None:
    """Raises unless every group has this measure."""
    for g in groups:
        if measure not in g.mean:
            known = [name for name in g.mean if name != COST]
            raise InputError(
                f"the report of {g.method} {g.setting} on {g.source} has no {measure}; it has "
                f"{', '.join(known)}. Evaluate it again with --measures={measure!r}"
            )


def to_markdown(groups: Sequence[Group], measures: Sequence[str]) -> str:
    """A table per collection: mean and spread (±) of the measures and of what the search costs."""
    columns = {COST: "FLOPS", "active query terms": "query terms", "active document terms": "document terms"}
    lines: list[str] = []
    for source, split in dict.fromkeys((g.source, g.split) for g in groups):
        here = [g for g in groups if (g.source, g.split) == (source, split)]
        lines += [*([""] if lines else []), f"{source}, {split}:", ""]
        header = ["method", "setting", "seeds", *measures, *columns.values()]
        lines += [f"| {' | '.join(header)} |", f"|{'---|' * 3}{'---:|' * (len(header) - 3)}"]
        for g in sorted(here, key=lambda g: (g.method, g.mean.get(COST, -1.0))):
            cells = [g.method, g.setting or "", str(len(g.seeds))]
            cells += [_cell(g, m, 4) for m in measures]
            cells += [_cell(g, name, 3 if name == COST else 1) for name in columns]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(g: Group, name: str, digits: int) -> str:
    if name not in g.mean:
        return ""
    spread = f" ± {g.spread[name]:.{digits}f}" if name in g.spread else ""
    return f"{g.mean[name]:.{digits}f}{spread}"


def write(
    out: PathLike, points: Sequence[Point], *, measures: Sequence[str], measure: str | None = None
) -> list[Group]:
    """Writes ``frontier.png``, ``frontier.md`` and ``frontier.json`` into ``out``.

    Args:
      measures: of the table.
      measure: of the picture; default: the first nDCG, or the first.

    Raises:
      InputError: no points, or one without the measure.
    """
    from jaxir.evaluation import plots
    from jaxir.evaluation.report import picture_measure

    if not points:
        raise InputError("there is no finished run to plot")
    groups = group(points)
    measure = measure or picture_measure(list(measures))
    for name in dict.fromkeys([measure, *measures]):
        check_measure(groups, name)
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = [{**g._asdict(), "seeds": list(g.seeds)} for g in groups]
    write_json(out / FACTS, {"measure": measure, "groups": rows, "runs": [p._asdict() for p in points]})
    write_text(out / "frontier.md", to_markdown(groups, measures))
    panels: dict[str, dict[str, list[plots.Spot]]] = {}
    for g in groups:
        name = g.source if g.split == "test" else f"{g.source}, {g.split}"
        spot = plots.Spot(g.mean.get(COST), g.mean[measure], g.spread.get(COST), g.spread.get(measure))
        panels.setdefault(name, {}).setdefault(g.method, []).append(spot)
    plots.frontier(out / "frontier.png", panels, cost=f"{COST} (terms in common per pair)", measure=measure)
    return groups
