import pytest

from jaxir.checks import InputError
from jaxir.evaluation import table
from jaxir.evaluation.significance import adjust, compare

PER_QUERY = {
    "bm25": {"RR": {f"q{i}": 0.2 for i in range(8)}},
    "dense": {"RR": {f"q{i}": 0.3 + 0.01 * i for i in range(8)}},
    "other": {"RR": {f"q{i}": 0.2 + 0.1 * (-1) ** i for i in range(8)}},
}
RUNS = {name: {"RR": sum(m["RR"].values()) / 8} for name, m in PER_QUERY.items()}


def test_cells_hold_corrected_p_values_and_the_best():
    made = table.build(RUNS, per_query=PER_QUERY, baseline="bm25")
    raw = [compare(PER_QUERY[n]["RR"], PER_QUERY["bm25"]["RR"]) for n in ("dense", "other")]
    corrected = adjust([c.p for c in raw])
    assert raw[0].p == 2 / 256
    assert made.cells["dense"]["RR"].p == corrected[0] == 4 / 256
    assert made.cells["other"]["RR"].p == corrected[1] == 1.0
    assert [name for name, row in made.cells.items() if row["RR"].best] == ["dense"]
    assert made.cells["bm25"]["RR"].comparison is None
    assert "Holm-corrected for 2 runs" in made.caption
    facts = table.as_json(made)
    assert list(facts) == ["dense", "other"]
    assert facts["dense"]["RR"]["p"] == 2 / 256
    assert facts["dense"]["RR"]["wins"] == 8


def test_printed_table(capsys):
    table.show(table.build(RUNS, per_query=PER_QUERY, baseline="bm25"), title="three runs")
    out = capsys.readouterr().out
    line = next(text for text in out.splitlines() if "dense" in text)
    assert line.split() == ["dense", "0.3350", "*", "p=0.016"]
    assert "against bm25" in out
    assert "three runs" in out
    table.show(table.build(RUNS))
    assert "p=" not in capsys.readouterr().out


def test_no_figure_is_cut_however_many_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    names = [f"nDCG@{k}" for k in range(10, 22)]
    per_query = {
        run: {m: {f"q{i}": x * (i % 3) / 3 for i in range(9)} for m in names}
        for run, x in (("bm25", 0.5), ("a-run-with-a-rather-long-name", 0.7))
    }
    means = {run: {m: sum(v.values()) / 9 for m, v in ms.items()} for run, ms in per_query.items()}
    table.show(table.build(means, per_query=per_query, baseline="bm25"))
    out = capsys.readouterr().out
    assert out.count("0.2333") == 12
    assert "a-run-with-a-rather-long-name" in out
    assert "nDCG@21" in out


def test_html_escapes_names():
    made = table.build({"<b>": {"R@1": 0.5}, "x": {"R@1": 0.25}})
    assert "&lt;b&gt;" in table.to_html(made)
    assert "<b>0.5000</b>" in table.to_html(made)
    assert "<td>0.2500</td>" in table.to_html(made)


def test_bad_input():
    with pytest.raises(InputError, match="no run"):
        table.build({})
    with pytest.raises(InputError, match=r"run 'b' has \['RR'\], expected \['AP'\]"):
        table.build({"a": {"AP": 0.1}, "b": {"RR": 0.1}})
    with pytest.raises(InputError, match="Did you mean 'dense'"):
        table.build(RUNS, per_query=PER_QUERY, baseline="dens")
