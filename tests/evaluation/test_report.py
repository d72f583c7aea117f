import json
import re

import pytest

from jaxir.checks import InputError
from jaxir.evaluation.report import picture_measure, write_report

PER_QUERY = {
    name: {m: {f"q{i}": (i * k % 7) / 7 for i in range(30)} for m in ("MRR@10", "nDCG@10")}
    for name, k in (("bm25", 2), ("dense", 3))
}
RUNS = {n: {m: sum(v.values()) / 30 for m, v in ms.items()} for n, ms in PER_QUERY.items()}
HIT = {"title": "a.b", "text": "x < y & z " * 40, "relevant": True}


def write(out, **more):
    return write_report(out, title="T & <i>", runs=RUNS, **more)


def test_a_full_report(tmp_path):
    page = write(
        tmp_path / "report",
        per_query=PER_QUERY,
        baseline="bm25",
        results={
            "scann_recall@100": 0.9871,
            "seconds": {"total": 12.34},
            "corpus": {"docs": 8000, "test": 30},
        },
        curves=[{"step": 1, "loss": 2.0}, {"step": 2, "MRR@10": 0.1}],
        examples=[{"query": "a <q>", "note": "+0.5", "hits": {"bm25": [HIT], "dense": []}}],
        config="x: <1>",
        notes=["weight 0.4 & more"],
    )
    assert page == tmp_path / "report" / "index.html"
    text = page.read_text()
    pictures = re.findall(r"src='([^']+)'", text)
    assert pictures == ["loss.png", "per_query.png"]
    for name in pictures:
        assert (page.parent / name).stat().st_size > 1000
    shown = ("T &amp; &lt;i&gt;", "a &lt;q&gt;", "x: &lt;1&gt;", "weight 0.4 &amp; more", "8,000 docs")
    for piece in (*shown, "0.9871", "12.3", "&#10003;", "x &lt; y &amp; z"):
        assert piece in text, piece
    assert "http" not in text  # self-contained
    figures = json.loads((page.parent / "results.json").read_text())
    assert figures["runs"] == RUNS
    assert figures["scann_recall@100"] == 0.9871
    assert figures["seconds"] == {"total": 12.34}
    assert figures["baseline"] == "bm25"
    assert 0 < figures["comparisons"]["dense"]["MRR@10"]["p"] <= 1


def test_without_anything_optional(tmp_path):
    page = write(tmp_path / "r")
    assert sorted(f.name for f in page.parent.iterdir()) == [
        "index.html",
        "manifest.json",
        "results.json",
    ]
    assert "<img" not in page.read_text()
    assert list(json.loads((page.parent / "results.json").read_text())) == ["runs"]


def test_replaces_a_report_and_nothing_else(tmp_path):
    write(tmp_path / "r", notes=["first"])
    assert "second" in write(tmp_path / "r", notes=["second"]).read_text()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("keep")
    with pytest.raises(InputError, match="not a report"):
        write(mine)
    assert (mine / "thesis.txt").read_text() == "keep"
    with pytest.raises(InputError, match="not a report"):
        write(mine / "thesis.txt")


def test_a_failure_leaves_the_old_report(tmp_path):
    write(tmp_path / "r", notes=["old"])
    with pytest.raises(InputError, match="no row"):
        write(tmp_path / "r", curves=[{"loss": 1.0}])
    assert "old" in (tmp_path / "r" / "index.html").read_text()
    assert [f.name for f in tmp_path.iterdir()] == ["r"]


def test_the_picture_shows_ndcg_where_it_is():
    assert picture_measure(("MRR@10", "nDCG@10")) == "nDCG@10"
    assert picture_measure(("MRR@10", "R@5")) == "MRR@10"
