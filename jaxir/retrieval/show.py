"""Search results for a terminal: rank, score, id, title, and the place in the text that fits the query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from jaxir.retrieval.index import Index
from jaxir.retrieval.words import analyzer

SNIPPET = 200
"""Characters."""


class Hit(NamedTuple):
    rank: int
    score: float
    doc_id: str
    title: str = ""
    text: str = ""


def hits(index: Index, docs: Any, scores: np.ndarray, rows: np.ndarray) -> list[Hit]:
    """One query's results with their texts.

    Args:
      docs: the indexed documents by row (:func:`jaxir.retrieval.find.open_texts`); None = ids only.
      scores, rows: [k], as the index found them; rows of -1 are left out.
    """
    real = rows >= 0
    rows, scores = rows[real], scores[real]
    known = docs.rows(rows.tolist()) if docs is not None else [None] * len(rows)
    return [
        Hit(rank, float(score), doc_id, doc.title if doc else "", doc.text if doc else "")
        for rank, (score, doc_id, doc) in enumerate(zip(scores, index.doc_ids(rows), known), 1)
    ]


def format_hits(query: str, results: Sequence[Hit]) -> Text:
    """The hits as styled text, the query's words marked; ``.plain`` is the same without styles.

    >>> print(format_hits("cats", [Hit(1, 0.5, "d7", "Pets", "All about cats.")]).plain)
      1  0.5000  d7  Pets
         All about cats.
    """
    words = _pattern(query)
    out = Text()
    for hit in results:
        out.append(f"{hit.rank:>3}  {hit.score:.4f}  ", "dim")
        out.append(hit.doc_id, "bold")
        if hit.title and hit.title != hit.doc_id:
            out.append(f"  {hit.title}", "italic")
        out.append("\n")
        if hit.text:
            line = Text(snippet(hit.text, query))
            if words:
                line.highlight_regex(words, "bold yellow")
            out.append("     ").append_text(line).append("\n")
    if not results:
        out.append("nothing found\n", "dim")
    out.rstrip()
    return out


def snippet(text: str, query: str, size: int = SNIPPET) -> str:
    """The part of the text, about ``size`` characters, with the most different words of the query."""
    text = " ".join(text.split())
    words = _pattern(query)
    if len(text) <= size:
        return text
    places = [(m.start(), m.group().lower()) for m in words.finditer(text)] if words else []
    start = 0
    most = 0
    for first, _ in places:
        seen = len({word for at, word in places if first <= at < first + size * 3 // 4})
        if seen > most:
            start, most = first, seen
    if start < size // 4:
        start = 0
    else:  # a little of what stands before, from the beginning of a word where there are spaces
        space = text.find(" ", start - size // 4, start)
        start = space + 1 if space >= 0 else start - size // 8
    end = start + size
    if end < len(text):
        end = max(text.rfind(" ", start, end), start + size // 2)
    return ("... " if start else "") + text[start:end] + (" ..." if end < len(text) else "")


def show(query: str, results: Sequence[Hit], *, heading: bool = False) -> None:
    """Prints the hits: in colour on a terminal, plain elsewhere."""
    console = Console(highlight=False)
    if heading:
        console.print(Text(query, "bold underline"), soft_wrap=True)
    # Off a terminal, lines are not wrapped: what reads them wants them whole.
    console.print(format_hits(query, results), soft_wrap=not console.is_terminal)
    if heading:
        console.print()


def _pattern(query: str) -> re.Pattern[str] | None:
    """Matches the words of the query with any ending: "solve" also marks "solving"."""
    terms = set(analyzer("en")(query))
    if not terms:
        return None
    parts = [rf"\b{re.escape(t)}\w*" if t.isascii() else re.escape(t) for t in sorted(terms, key=len)[::-1]]
    return re.compile("|".join(parts), re.IGNORECASE)
