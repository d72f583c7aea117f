"""Hits for a terminal: layout, the snippet's place, marked words."""

import io

import pytest
from rich.console import Console

from jaxir.retrieval.show import Hit, format_hits, snippet

LONG = "Filler words stand here first. " * 20 + "Solves a LINEAR system of equations. " + "And more. " * 50


def test_layout():
    text = format_hits("linear", [Hit(1, 0.75, "d1", "T", "a linear map"), Hit(2, -0.5, "x", "x", "")])
    assert text.plain == "  1  0.7500  d1  T\n     a linear map\n  2  -0.5000  x"
    assert format_hits("q", []).plain == "nothing found"


def test_the_query_s_words_are_marked():
    text = format_hits("solve the systems", [Hit(1, 1.0, "d", "", "It solves the system; resolve.")])
    marked = [text.plain[s.start : s.end] for s in text.spans if s.style == "bold yellow"]
    assert marked == ["solves", "system"]  # not "the", a stop word, and not inside "resolve"
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="truecolor").print(text)
    assert "\x1b[1;33msolves" in out.getvalue()


@pytest.mark.parametrize("query", ["", "???", "the", "(unclosed [", "東京都"])
def test_any_query_is_safe(query):
    assert "words" in format_hits(query, [Hit(1, 1.0, "d", "t", "some words in 東京")]).plain


def test_markup_in_texts_is_text():
    assert "[bold]x[/bold]" in format_hits("x", [Hit(1, 1.0, "d", "[red]", "[bold]x[/bold]")]).plain


def test_the_snippet_is_where_the_words_are():
    found = snippet(LONG, "linear system")
    assert "Solves a LINEAR system of equations." in found
    assert found.startswith("... ")
    assert found.endswith(" ...")
    assert len(found) < 230
    assert snippet(LONG, "nothing of it").startswith("Filler words")
    assert snippet("short\n\n  text", "q") == "short text"


def test_more_different_words_beat_more_of_one():
    text = "cat cat cat cat " + "x " * 300 + "the cat sat on a mat " + "y " * 300
    assert "sat on a mat" in snippet(text, "cat sat mat")


def test_scripts_without_spaces():
    text = "日本語の文書。" * 60 + "東京都の人口" + "あ" * 400
    assert "東京都の人口" in snippet(text, "東京都")
