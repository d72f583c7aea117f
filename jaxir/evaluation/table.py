"""The table of runs by measures: best values, and p-values against a baseline run."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxir.checks import InputError, check_known
from jaxir.evaluation.significance import Comparison, adjust, compare

Values = Mapping[str, Mapping[str, float]]
"""{run: {measure: value}}"""

PerQuery = Mapping[str, Mapping[str, Mapping[str, float]]]
"""{run: {measure: {query_id: value}}}"""


class Cell(NamedTuple):
    value: float
    best: bool  # no other run has a higher value
    comparison: Comparison | None = None  # against the baseline; its p is not corrected
    p: float | None = None  # corrected for the number of runs


class Table(NamedTuple):
    """Rows in the order of the runs, columns in the order of the measures."""

    cells: dict[str, dict[str, Cell]]
    measures: tuple[str, ...]
    baseline: str | None

    @property
    def caption(self) -> str:
        """What the marks mean, or '' where nothing was compared."""
        if self.baseline is None or len(self.cells) < 2:
            return ""
        others = len(self.cells) - 1
        corrected = f", Holm-corrected for {others} runs" if others > 1 else ""
        return (
            f"p: two-sided paired randomisation test against {self.baseline}{corrected}; "
            "* marks p < 0.05. Bold: best of the column."
        )


def build(runs: Values, *, per_query: PerQuery | None = None, baseline: str | None = None) -> Table:
    """Compares the runs.

    Args:
      runs: {run: {measure: mean}}, all with the same measures.
      per_query: {run: {measure: {query_id: value}}}; needed for p-values.
      baseline: the run to compare with; None compares nothing.

    Raises:
      InputError: no run, runs with different measures, or a baseline that is not among them.
    """
    if not runs:
        raise InputError("there is no run to show")
    measures = tuple(next(iter(runs.values())))
    for name, values in runs.items():
        if set(values) != set(measures):
            raise InputError(f"run {name!r} has {sorted(values)}, expected {sorted(measures)}")
    if baseline is not None:
        check_known("baseline run", baseline, runs)
    compared: dict[str, dict[str, tuple[Comparison, float]]] = {name: {} for name in runs}
    if baseline is not None and per_query is not None:
        others = [name for name in runs if name != baseline]
        for m in measures:
            found = [compare(per_query[name][m], per_query[baseline][m]) for name in others]
            for name, one, p in zip(others, found, adjust([c.p for c in found])):
                compared[name][m] = (one, p)
    best = {m: max(values[m] for values in runs.values()) for m in measures}
    cells = {
        name: {m: Cell(values[m], values[m] >= best[m], *compared[name].get(m, ())) for m in measures}
        for name, values in runs.items()
    }
    return Table(cells, measures, baseline if per_query is not None else None)


def show(table: Table, *, title: str = "") -> None:
    """Prints the table to standard output, with colours where that is a terminal."""
    from jaxir.evaluation import terminal

    def spans(cell: Cell) -> list[terminal.Span]:
        value = (f"{cell.value:.4f}", "bold" if cell.best else "")
        return [value, (f" {mark(cell):<9}", "dim")] if table.baseline else [value]

    rows = [[[(run, "")], *map(spans, row.values())] for run, row in table.cells.items()]
    terminal.show_table(["run", *table.measures], rows, title=title, caption=table.caption)


def mark(cell: Cell) -> str:
    """The p-value beside a value: ``'* p=0.012'``, ``'  p=0.31'``, or ``''``."""
    if cell.p is None:
        return ""
    return ("*" if cell.p < 0.05 else " ") + " " + p_text(cell.p)


def p_text(p: float) -> str:
    """
    >>> p_text(0.01234), p_text(0.00002), p_text(1.0)
    ('p=0.012', 'p<0.001', 'p=1.00')
    """
    if p < 0.001:
        return "p<0.001"
    return f"p={p:.3f}" if p < 0.1 else f"p={p:.2f}"


def to_html(table: Table) -> str:
    """The table as an HTML element."""
    head = "".join(f"<th>{html.escape(m)}</th>" for m in table.measures)
    rows = []
    for run, row in table.cells.items():
        note = " <small>baseline</small>" if run == table.baseline else ""
        cells = "".join(_cell_html(cell) for cell in row.values())
        rows.append(f'<tr><th scope="row">{html.escape(run)}{note}</th>{cells}</tr>')
    more = " Second line: difference to the baseline and its 95% bootstrap interval."
    text = html.escape(table.caption + more) if table.caption else ""
    return (
        f'<figure><table class="runs"><thead><tr><th>run</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table><figcaption>{text}</figcaption></figure>"
    )


def _cell_html(cell: Cell) -> str:
    value = f"<b>{cell.value:.4f}</b>" if cell.best else f"{cell.value:.4f}"
    if cell.comparison is None:
        return f"<td>{value}</td>"
    c = cell.comparison
    star = "*" if cell.p is not None and cell.p < 0.05 else ""
    return (
        f"<td>{value}{star} <small>{p_text(cell.p or 0.0).replace('<', '&lt;')}<br>"
        f"{c.difference:+.4f} [{c.low:+.3f}, {c.high:+.3f}]</small></td>"
    )


def as_json(table: Table) -> dict[str, dict[str, dict[str, float]]]:
    """{run: {measure: difference, p, p_corrected, low, high, wins, ties, losses}}."""
    return {
        run: {
            m: {**cell.comparison._asdict(), "p_corrected": cell.p}
            for m, cell in row.items()
            if cell.comparison is not None and cell.p is not None
        }
        for run, row in table.cells.items()
        if any(cell.comparison is not None for cell in row.values())
    }


def plain(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A small table of other facts (seconds, counts) as an HTML element."""
    head = "".join(f"<th>{html.escape(n)}</th>" for n in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
