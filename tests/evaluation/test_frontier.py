import json
import sys

import pytest

from jaxir.checks import InputError
from jaxir.cli import frontier as command
from jaxir.evaluation import frontier, grid, grid_execution, grid_run
from jaxir.files import write_json


def report(folder, source="toy", runs=None, **facts):
    path = folder / f"report-{source}-0123abcd-test"
    path.mkdir(parents=True)
    write_json(path / "results.json", {"runs": runs or {}, **facts})
    return path


def costs(flops):
    return {"sparsity": {"FLOPS": flops, "active query terms": 5.0, "active document terms": 50.0}}


def run_of(folder, value, flops, *, seed=0, weight=1.0, bm25=False, own="sparse_exact", name="flops"):
    runs = {"bm25": {"nDCG@10": 0.5}} if bm25 else {}
    report(folder, runs={**runs, own: {"nDCG@10": value}}, **(costs(flops) if flops else {}))
    write_json(folder / "config.json", {"name": name, "seed": seed, "objective": {"weight": weight}})
    return folder


@pytest.fixture
def finished(tmp_path):
    run_of(tmp_path / "a", 0.40, 1.0, seed=0, weight=1.0, bm25=True)
    run_of(tmp_path / "b", 0.44, 3.0, seed=1, weight=1.0, bm25=True)
    run_of(tmp_path / "c", 0.60, 9.0, seed=0, weight=0.1)
    run_of(tmp_path / "d", 0.55, None, own="dense_exact", name="dense")
    return tmp_path


def call(*args):
    from absl import flags

    values = flags.FlagValues()
    command.define(values)
    command.run(values, values(["jaxir frontier", *command.arguments(list(args))])[1:])


def test_finished_runs_become_points_with_their_spread(finished, capsys):
    runs = [f"--run=flops={finished / name}" for name in "abc"]
    out = finished / "out"
    call(*runs, f"--run={finished / 'd'}", f"--out={out}", "--measures=nDCG@10")
    found = {
        (g["method"], g["setting"]): g for g in json.loads((out / "frontier.json").read_text())["groups"]
    }
    assert sorted(method for method, _ in found) == ["BM25", "dense", "flops", "flops"]
    two = next(g for g in found.values() if g["seeds"] == [0, 1])
    assert two["mean"]["nDCG@10"] == pytest.approx(0.42)
    assert two["mean"]["FLOPS"] == pytest.approx(2.0)
    assert two["spread"]["nDCG@10"] == pytest.approx(0.02 * 2**0.5)
    table = capsys.readouterr().out
    assert "| 0.4200 ± 0.0283 | 2.000 ± 1.414 | 5.0 ± 0.0 | 50.0 ± 0.0 |" in table
    assert "| BM25 |  | 1 | 0.5000 |  |" in table
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_bm25_stays_in_the_picture_whichever_run_of_the_grid_measured_it(tmp_path):
    run_of(tmp_path / "runs" / "left-out", 0.4, 1.0, bm25=True)
    ours = frontier.read_run(run_of(tmp_path / "runs" / "ours", 0.4, 1.0))
    (level,) = frontier.levels(tmp_path, ours)
    assert (level.method, level.source, level.measures) == ("BM25", "toy", {"nDCG@10": 0.5})
    assert frontier.levels(tmp_path, []) == []


def test_runs_that_cannot_be_compared(finished, tmp_path):
    with pytest.raises(InputError, match=r"are both x .* with seed 0 on toy: give them different names"):
        call(f"--run=x={finished / 'a'}", f"--run=x={finished / 'a'}", f"--out={tmp_path / 'o'}")
    with pytest.raises(InputError, match=r"has no R@100; it has nDCG@10"):
        call(f"--run={finished / 'd'}", f"--out={tmp_path / 'o'}", "--measures=R@100")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no report: jaxir evaluate"):
        call(f"--run={tmp_path / 'empty'}", f"--out={tmp_path / 'o'}")
    with pytest.raises(InputError, match="there is no directory"):
        call("--run=nowhere", f"--out={tmp_path / 'o'}")


def test_methods_and_values():
    methods = grid.parse_methods(
        ["a:dense:squad", "b:dense"], ["a:optimizer.learning_rate=1e-3,1e-4", "config.steps=7"]
    )
    runs = grid.plan(methods, [0, 1], "out", overrides=(("batch_size", "8"),))
    assert [run.workdir.name for run in runs] == [
        f"{name}-seed{seed}"
        for seed in (0, 1)
        for name in ("a-learning_rate=1e-3", "a-learning_rate=1e-4", "b")
    ]
    assert runs[0].overrides[:3] == (
        ("batch_size", "8"),
        ("optimizer.learning_rate", "1e-3"),
        ("steps", "7"),
    )
    assert runs[0].setting == runs[3].setting == "learning_rate=1e-3"
    assert len({run.fingerprint for run in runs}) == 6


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--method=dense"], "is not NAME:CONFIG"),
        (["--method=a:dense", "--method=a:dense"], "two methods are named 'a'"),
        (["--method=a:dense", "--vary=b:steps=1"], "unknown method in --vary 'b'"),
        (["--config=dense", "--vary=steps"], "is not .METHOD:.KEY=VALUE"),
        (["--config=dense", "--vary=stepz=1"], "Did you mean 'steps'"),
        (["--config=dense", "--vary=steps=1,1"], "same name"),
        (["--config=dense", "--seeds=x"], "not whole numbers"),
        (["--config=dense", "--measures=ndcg@10"], "Did you mean 'nDCG'"),
        ([], "give --run=NAME=DIR"),
    ],
)
def test_mistakes_are_known_before_anything_runs(args, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        call(*args, f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def in_this_process(monkeypatch):
    """Instead of a process for each run, which takes seconds to start; counts them."""
    specs = []

    def perform(command, workdir):
        specs.append(json.loads((workdir / grid_execution.RUN).read_text()))
        if "seed-1" in workdir.name:
            return "the seed is below 0"
        grid_run.perform(specs[-1])
        return ""

    monkeypatch.setattr(grid_execution, "call", perform)
    monkeypatch.setattr(grid_run, "keep_compiled", lambda path: None)
    return specs


def test_a_grid_is_trained_and_gone_on_with(toy, tmp_path, in_this_process, capsys):
    arguments = [
        *("--method=static:dense:static,smoke", "--vary=encoder.dim=8", "--config.data.split=dev"),
        *(f"--config.data.source={toy.path}", "--config.steps=1", "--config.eval.every=0"),
        *(f"--out={tmp_path / 'out'}", "--measures=nDCG@10", "--nokeep_models"),
    ]
    call(*arguments)
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "figures.jsonl").read_text().splitlines()]
    assert (row["status"], row["method"], row["source"]) == ("ok", "static", "toy")
    assert "| static |  | 1 |" in capsys.readouterr().out
    # Again, with one more seed that cannot be trained: only that is begun, and the picture has the other.
    with pytest.raises(SystemExit):
        call(*arguments, "--seeds=0,-1")
    first, second = in_this_process
    assert (first["bm25"], second["bm25"]) == ([str(toy.path)], [])  # it is the same for all
    assert [d.rpartition("/")[2] for d in second["donors"]] == ["static-seed0"]
    said = capsys.readouterr()
    assert "1 of 2 runs are done already" in said.err
    assert "static seed -1: the seed" in said.err
    assert "| BM25 |" in said.out
    assert (tmp_path / "out" / "frontier.png").is_file()
    with pytest.raises(InputError, match="holds a run of another config"):
        call(*arguments, "--config.steps=2")


def test_a_process_that_fails_tells_why(tmp_path, capsys):
    def run(code):
        return grid_execution.call([sys.executable, "-c", f"import sys, os; {code}"], tmp_path)

    assert run("print('fine', file=sys.stderr)") == ""
    assert run("print('a bar\\rjaxir: too much', file=sys.stderr); sys.exit(2)") == "too much"
    assert "ended by signal 9" in run("os.kill(os.getpid(), 9)")
    assert "jaxir: too much" in capsys.readouterr().err
    assert "fine" in (tmp_path / "log.txt").read_text()
