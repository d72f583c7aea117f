"""A folder that tells how good the runs are: a page, its pictures, and the figures as JSON."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxir.checks import InputError
from jaxir.evaluation import plots, table
from jaxir.evaluation.table import PerQuery, Values
from jaxir.files import MANIFEST, PathLike, new_directory, read_json, write_json, write_manifest

Example = Mapping[str, Any]
"""``{"query": text, "note": text, "hits": {run: [{"title", "text", "relevant"}, ...]}}``"""


def write_report(
    out_dir: PathLike,
    *,
    title: str,
    runs: Values,
    per_query: PerQuery | None = None,
    baseline: str | None = None,
    results: Mapping[str, Any] | None = None,
    curves: Sequence[Mapping[str, Any]] = (),
    examples: Sequence[Example] = (),
    config: str = "",
    notes: Sequence[str] = (),
) -> pathlib.Path:
    """Writes ``index.html``, its PNG files and ``results.json`` into ``out_dir``; returns the page.

    The folder appears whole or not at all, and replaces an older report, never another folder.

    Args:
      title: the page's heading.
      runs: {run: {measure: mean}}; also ``results.json``'s "runs".
      per_query: {run: {measure: {query_id: value}}}, for p-values and the per-query picture.
      baseline: the run that the others are compared with; needs ``per_query``.
      results: what ``results.json`` holds besides "runs", "baseline" and "comparisons". "seconds"
        and "corpus" (dicts of numbers) and other plain values are shown on the page, too.
      curves: rows of the training log (``metrics.jsonl``), for the loss curve.
      examples: queries with the first hits of each run.
      config: the resolved config as text.
      notes: sentences under the table.

    Raises:
      InputError: ``out_dir`` holds something that is not a report, or a run lacks a measure.
    """
    out = pathlib.Path(out_dir)
    check_replaceable(out)
    made = table.build(runs, per_query=per_query, baseline=baseline)
    facts = dict(results or {})
    with new_directory(out, overwrite=True) as work:
        pictures = []
        if any("loss" in row for row in curves):
            plots.loss_curve(work / "loss.png", curves, title="")
            pictures.append(("loss.png", "Training"))
        if made.baseline and per_query and len(runs) > 1:
            _draw_gain_loss(work / "per_query.png", made, per_query)
            pictures.append(("per_query.png", "Gain and loss of every query, against the baseline"))
        page = _page(title, made, facts, pictures, examples, config, notes)
        (work / "index.html").write_text(page, encoding="utf-8")
        figures = {"runs": {name: dict(values) for name, values in runs.items()}, **facts}
        if made.baseline:
            figures |= {"baseline": made.baseline, "comparisons": table.as_json(made)}
        write_json(work / "results.json", figures)
        write_manifest(work, "report", title=title)
    return out / "index.html"


def picture_measure(measures: Sequence[str]) -> str:
    """The measure of the per-query picture: the first nDCG, which has the finest steps, or the first."""
    return next((m for m in measures if m.lower().startswith("ndcg")), measures[0])


def check_replaceable(out: pathlib.Path) -> None:
    """Raises an InputError where something stands that is not a report."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if out.is_dir() and (out / MANIFEST).is_file():
        manifest = read_json(out / MANIFEST)
        if isinstance(manifest, dict) and manifest.get("kind") == "report":
            return
    raise InputError(f"{out} exists and is not a report of jaxir's; choose another directory")


def _draw_gain_loss(path: pathlib.Path, made: table.Table, per_query: PerQuery) -> None:
    name = picture_measure(made.measures)
    notes = {
        run: table.p_text(cells[name].p or 0.0)
        for run, cells in made.cells.items()
        if cells[name].p is not None
    }
    values = {run: per_query[run][name] for run in made.cells}
    plots.gain_loss(path, values, baseline=str(made.baseline), measure=name, notes=notes)


def _page(
    title: str,
    made: table.Table,
    facts: Mapping[str, Any],
    pictures: Sequence[tuple[str, str]],
    examples: Sequence[Example],
    config: str,
    notes: Sequence[str],
) -> str:
    parts = [f"<h1>{html.escape(title)}</h1>", _corpus(facts), table.to_html(made)]
    if notes:
        parts.append("<ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in notes) + "</ul>")
    for file, caption in pictures:
        text = html.escape(caption)
        parts.append(f"<h2>{text}</h2><img class='{file[:-4]}' src='{file}' alt='{text}'>")
    if examples:
        parts.append("<h2>Queries and what was found</h2>")
        parts.append("<p>&#10003; marks a document that is judged relevant.</p>")
        parts.extend(_example(e) for e in examples)
    parts.append(_facts(facts))
    if config:
        parts.append(f"<h2>Config</h2><pre>{html.escape(config)}</pre>")
    body = "\n".join(p for p in parts if p)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _corpus(facts: Mapping[str, Any]) -> str:
    counts = facts.get("corpus")
    if not isinstance(counts, Mapping):
        return ""
    words = [f"{v:,} {k}" for k, v in counts.items() if isinstance(v, (int, float))]
    return f"<p class='lead'>{html.escape(', '.join(words))}</p>"


def _example(example: Example) -> str:
    columns = []
    for run, hits in example["hits"].items():
        items = "".join(_hit(hit) for hit in hits) or "<li>nothing</li>"
        columns.append(f"<div><h4>{html.escape(run)}</h4><ol>{items}</ol></div>")
    note = f"<span>{html.escape(example['note'])}</span>" if example.get("note") else ""
    heading = f"<h3>{html.escape(example['query'])}{note}</h3>"
    return f"<section>{heading}<div class='hits'>{''.join(columns)}</div></section>"


def _hit(hit: Mapping[str, Any]) -> str:
    text = " ".join(str(hit.get("text", "")).split())
    if len(text) > 130:
        text = text[:127].rstrip() + "..."
    title = html.escape(str(hit.get("title") or ""))
    right = hit.get("relevant")
    tick = "<b class='tick'>&#10003;</b> " if right else ""
    return (
        f"<li{' class=right' if right else ''}>{tick}<b>{title}</b> <small>{html.escape(text)}</small></li>"
    )


def _facts(facts: Mapping[str, Any]) -> str:
    parts = []
    plain = [(k, _number(v)) for k, v in facts.items() if isinstance(v, (int, float, str))]
    if plain:
        parts.append("<h2>Other figures</h2>" + table.plain(("figure", "value"), plain))
    sparsity, searches = facts.get("sparsity"), facts.get("searches")
    if isinstance(sparsity, Mapping):
        rows = [(name, _number(value)) for name, value in sparsity.items()]
        parts.append("<h2>Sparse representations</h2>" + table.plain(("figure", "value"), rows))
    if isinstance(searches, Mapping) and searches:
        names = list(next(iter(searches.values())))
        rows = [(run, *(_number(cost[name]) for name in names)) for run, cost in searches.items()]
        parts.append("<h2>What a search costs</h2>" + table.plain(("run", *names), rows))
    seconds = facts.get("seconds")
    if isinstance(seconds, Mapping):
        rows = [(stage, f"{s:,.1f}") for stage, s in seconds.items()]
        parts.append("<h2>Time</h2>" + table.plain(("stage", "seconds"), rows))
    return "".join(parts)


def _number(value: float | str) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


_CSS = """
:root { color-scheme: light; }
body { margin: 0; background: #f6f6f4; color: #1c1c1c;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 66rem; margin: 2rem auto; padding: 1.5rem 2.2rem 2.5rem; background: #fff;
  border: 1px solid #e2e2de; border-radius: 8px; }
h1 { font-size: 1.7rem; margin: .2rem 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .9rem; border-top: 1px solid #e8e8e4; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
h3 span { font-weight: normal; color: #666; margin-left: .8rem; font-size: .88rem; }
h4 { font-size: .85rem; margin: 0 0 .2rem; color: #555; }
.lead { color: #555; margin: 0 0 1.2rem; }
figure { margin: 1rem 0; overflow-x: auto; }
figcaption { color: #666; font-size: .85rem; margin-top: .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .42rem 1.3rem .42rem 0; vertical-align: top;
  border-bottom: 1px solid #e8e8e4; }
thead th { border-bottom: 2px solid #1c1c1c; font-size: .9rem; }
tbody th { font-weight: 600; }
small { color: #666; font-size: .82rem; font-weight: normal; }
.runs { width: 100%; }
img { max-width: 100%; height: auto; }
.loss { width: 46rem; }
ul { padding-left: 1.2rem; }
section { border: 1px solid #e2e2de; border-radius: 6px; padding: .8rem 1rem; margin: .8rem 0; }
.hits { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1.2rem; }
.hits ol { margin: 0; padding-left: 1.3rem; font-size: .88rem; overflow-wrap: anywhere; }
.hits li { margin-bottom: .35rem; }
.tick { color: #00694e; }
.right { background: #e9f5f0; }
pre { background: #f6f6f4; border: 1px solid #e2e2de; border-radius: 6px; padding: .8rem 1rem;
  font-size: .82rem; overflow-x: auto; }
"""
