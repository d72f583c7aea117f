import json

import pytest
from absl import flags

from jaxir.checks import InputError
from jaxir.cli import evaluate, evaluate_runs


@pytest.fixture
def files(tmp_path):
    (tmp_path / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(8))
    )
    good = [f"q{i} Q0 d{i} 1 2.0 x\nq{i} Q0 n 2 1.0 x\n" for i in range(8)]
    poor = [f"q{i} Q0 n 1 2.0 x\nq{i} Q0 d{i} 2 1.0 x\n" for i in range(8)]
    (tmp_path / "good.trec").write_text("".join(good))
    (tmp_path / "poor.run").write_text("".join(poor))
    return tmp_path


def call(*args):
    values = flags.FlagValues()
    evaluate.define(values)
    positional = values(["jaxir evaluate", *map(str, args)])[1:]
    evaluate.run(values, positional)


def test_the_table_of_two_runs(files, capsys):
    call(
        f"--run=bm25={files / 'poor.run'}",
        f"--run={files / 'good.trec'}",
        f"--qrels={files / 'qrels.tsv'}",
        "--measures=MRR@10 R@1",
        f"--report={files / 'report'}",
    )
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["bm25", "0.5000", "0.0000"] in rows
    assert ["good", "1.0000", "*", "p=0.008", "1.0000", "*", "p=0.008"] in rows  # 2 / 2^8
    figures = json.loads((files / "report" / "results.json").read_text())
    assert figures["runs"] == {
        "bm25": {"MRR@10": 0.5, "R@1": 0.0},
        "good": {"MRR@10": 1.0, "R@1": 1.0},
    }
    assert figures["baseline"] == "bm25"
    assert (files / "report" / "per_query.png").exists()


def test_notes_and_another_baseline(files, capsys):
    call(
        f"--run={files / 'poor.run'}",
        f"--run={files / 'good.trec'}",
        f"--qrels={files / 'qrels.tsv'}",
        "--baseline=good",
    )
    out = capsys.readouterr().out
    assert "against good" in out
    assert "note: poor, good: the run has at most 2 documents per query" in out


def test_as_a_command(files, run_jaxir):
    done = run_jaxir("evaluate", f"--run={files / 'good.trec'}", f"--qrels={files / 'qrels.tsv'}")
    assert done.returncode == 0, done.stderr
    assert "1.0000" in done.stdout
    (files / "qrels.tsv").write_text("q0\td0\t1\nq1\tbroken\n")
    done = run_jaxir("evaluate", f"--run={files / 'good.trec'}", f"--qrels={files / 'qrels.tsv'}")
    assert done.returncode == 2
    assert "line 2: expected 3 columns" in done.stderr
    assert "Traceback" not in done.stderr
    help_text = run_jaxir("evaluate", "--help").stdout
    assert "jaxir evaluate --run=bm25.trec" in help_text
    assert "--measures" in help_text


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((), "give --run=FILE with --qrels=FILE, or --workdir"),
        (("--run={good}",), "--run needs --qrels"),
        (("--workdir=w",), "--workdir needs --source"),
        (("--run={good}", "--workdir=w"), "not both"),
        (("x",), "takes flags only, not 'x'"),
        (("--run={good}", "--run=good={poor}", "--qrels={qrels}"), "are both named 'good'"),
        (("--run={good}", "--qrels={qrels}", "--baseline=god"), "Did you mean 'good'"),
        (("--run={good}", "--qrels={qrels}", "--measures=ndcg@10"), "Did you mean 'nDCG'"),
        (("--run={good}", "--qrels=missing.tsv"), "there is no file missing.tsv"),
        (("--run=missing.trec", "--qrels={qrels}"), "missing.trec"),
        (("--run={qrels}", "--qrels={qrels}"), "line 1: expected 6 columns"),
    ],
)
def test_misuse(files, args, sentence):
    names = {"good": files / "good.trec", "poor": files / "poor.run", "qrels": files / "qrels.tsv"}
    with pytest.raises(InputError) as caught:
        call(*(a.format(**names) for a in args))
    assert sentence in str(caught.value)


def test_names_of_runs(files):
    strange = files / "lr=0.1.trec"
    strange.write_text("")
    assert evaluate_runs.named_files([str(strange), "a=b.trec", "x/c.trec.gz"]) == {
        "lr=0.1": str(strange),
        "a": "b.trec",
        "c": "x/c.trec.gz",
    }


def test_the_whole_chain(model, toy, tmp_path, monkeypatch, capsys):
    from jaxir.training import checkpoint

    monkeypatch.setattr(checkpoint, "load_model", lambda path, **options: model)
    call("--model=toy", f"--workdir={tmp_path}", f"--source={toy.path}", "--measures=MRR@10", "--depth=20")
    out = capsys.readouterr().out
    assert "toy: 20 queries of test" in out
    assert "note: hybrid: weighted" in out
    (report,) = tmp_path.glob("report-*-test/results.json")
    assert list(json.loads(report.read_text())["runs"]) == ["bm25", "dense_exact", "hybrid"]
    (home,) = tmp_path.glob("retrieval/*")
    assert f"runs: {home}/test.*.trec" in out
    assert (home / "test.hybrid.trec").exists()
    call(
        "--model=toy",
        f"--workdir={tmp_path}",
        f"--source={toy.path}",
        "--nobm25",
        f"--report={tmp_path / 'r'}",
    )
    figures = json.loads((tmp_path / "r" / "results.json").read_text())
    assert list(figures["runs"]) == ["dense_exact"]
