"""Tables on the terminal, with colours where it has them. The only file of this room with rich."""

from __future__ import annotations

from collections.abc import Sequence

import rich.box
import rich.console
import rich.measure
import rich.table
import rich.text

Span = tuple[str, str]
"""A piece of text and its style: ``("0.51", "bold")``."""

Cell = Sequence[Span]


def show_table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], *, title: str = "", caption: str = ""
) -> None:
    """Prints figures under headings; never cuts a figure, however narrow the terminal is."""
    grid = rich.table.Table(title=title or None, box=rich.box.SIMPLE)
    for name in header:
        grid.add_column(name, no_wrap=True)
    for row in rows:
        grid.add_row(*(_text(cell) for cell in row))
    console = rich.console.Console()
    wide = console.options.update(width=10_000)
    needed = rich.measure.Measurement.get(console, wide, grid).maximum
    # A terminal that is too narrow wraps the lines itself.
    rich.console.Console(width=max(needed, console.width)).print(grid)
    if caption:
        console.print(rich.text.Text(caption), style="dim")


def show_list(rows: Sequence[tuple[Span, Cell]], *, summary: str = "") -> None:
    """Prints ``label  text`` rows, the text wrapped at the terminal's width."""
    grid = rich.table.Table(box=None, show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, cell in rows:
        grid.add_row(_text([label]), _text(cell))
    console = rich.console.Console()
    console.print(grid)
    console.print(rich.text.Text(summary))


def _text(cell: Cell) -> rich.text.Text:
    return rich.text.Text.assemble(*cell)
