"""jaxir encode, index and search on a small trained work directory, as a user runs them."""

import io
import json

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.cli.main import main
from jaxir.data.prepare import prepare
from jaxir.data.prepared import load as open_prepared
from jaxir.retrieval import find, index, mining_origins, model, vectors
from jaxir.training.checkpoint import load_model
from jaxir.training.defaults import default_config
from jaxir.training.train import train
from jaxir.types import Doc, Qrel, Query, Source

TOPICS = ["solve linear system", "sort list keys", "open file path", "parse json text", "draw line plot"]


def collection():
    docs = [
        Doc(f"d{i}", f"title {i}", f"{TOPICS[i % 5]} number {i} with some more words about it")
        for i in range(60)
    ]
    queries = [Query(f"q{i}", f"{TOPICS[i % 5]} number {i}") for i in range(40)]
    qrels = [Qrel(f"q{i}", f"d{i}", 1) for i in range(40)]
    return Source("small", docs, {"train": queries}, {"train": qrels})


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    prepared = prepare(collection(), path / "small", progress=False)
    config = default_config()
    config.data.source = str(prepared.path)
    config.tokenizer.vocab_size = 300
    config.encoder = dict(fn="jaxir.models.static:static", dim=32)
    config.steps, config.batch_size, config.optimizer.learning_rate = 60, 16, 0.02
    train(config, path / "work", progress=False)
    main(["encode", f"--workdir={path / 'work'}", f"--source={prepared.path}", f"--out={path / 'vectors'}"])
    main(["index", f"--vectors={path / 'vectors'}", f"--out={path / 'work' / 'index'}"])
    return path / "work"


def refused(capsys, *argv):
    """The sentence that a command prints before it exits with 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in argv])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_encode_records_what_made_the_vectors(workdir):
    got = vectors.read(workdir.parent / "vectors")
    trained = load_model(workdir)
    assert got.values.shape == (60, 32)
    assert got.manifest["model"] == trained.fingerprint
    assert got.manifest["model_path"] == str(workdir)
    assert got.manifest["settings"] == {"prefix": "", "max_length": 128, "doc_text": "text"}
    np.testing.assert_allclose(np.linalg.norm(got.values, axis=1), 1, atol=1e-5)
    assert got.manifest["normalized"] is True


def test_search_shows_the_text(workdir, capsys):
    main(["search", f"--workdir={workdir}", "solve linear system number 5", "-k", "3"])
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 6
    assert shown[0].split()[0] == "1"
    assert shown[0].endswith("title 5")
    assert "d5" in shown[0]
    assert shown[1].strip().startswith("solve linear system number 5")
    assert "\x1b" not in "".join(shown)  # plain: standard output is no terminal here


def test_search_another_index_and_unquoted_words(workdir, tmp_path, capsys):
    main(["index", f"--vectors={workdir.parent / 'vectors'}", "--kind=scann", f"--out={tmp_path / 'i'}"])
    assert "scann, 60 documents x 32" in capsys.readouterr().out
    main(["search", f"--index={tmp_path / 'i'}", "sort", "list", "keys"])
    shown = capsys.readouterr().out
    assert shown.count("sort list keys") == 10


def test_queries_from_standard_input(workdir, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("open file path\n\n  draw line plot \n"))
    main(["search", f"--workdir={workdir}", "-", "-k", "2"])
    shown = capsys.readouterr().out
    assert shown.startswith("open file path\n")
    assert "\ndraw line plot\n" in shown
    assert shown.count("\n  1  ") == 2


def test_encode_queries(workdir, tmp_path, capsys):
    source = f"--source={workdir.parent / 'small'}"
    flags = ["--side=query", "--split=train", "--dtype=float16", f"--out={tmp_path / 'q'}"]
    main(["encode", f"--workdir={workdir}", source, *flags])
    got = vectors.read(tmp_path / "q")
    expected = model.encode_queries(load_model(workdir), [q.text for q in collection().queries["train"]])
    np.testing.assert_allclose(got.values, expected, atol=1e-3)
    assert (str(got.values.dtype), got.manifest["source"]["split"]) == ("float16", "train")
    assert got.ids[0] == b"q0"


def test_bad_queries(workdir, capsys, monkeypatch):
    at = f"--workdir={workdir}"
    assert "the query is empty" in refused(capsys, "search", at)
    assert "the query is empty" in refused(capsys, "search", at, "  ")
    assert "k is 61, but there are only 60" in refused(capsys, "search", at, "sort", "-k", "61")
    assert "k is 0" in refused(capsys, "search", at, "sort", "-k", "0")
    assert "needs --workdir" in refused(capsys, "search", "sort")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n"))
    assert "standard input holds no query" in refused(capsys, "search", at, "-")


def test_bad_directories(workdir, tmp_path, capsys):
    assert "there is no directory" in refused(capsys, "search", f"--workdir={tmp_path / 'no'}", "x")
    assert "has no index yet" in refused(capsys, "search", f"--workdir={tmp_path}", "x")
    assert "not written by jaxir" in refused(capsys, "search", f"--index={tmp_path}", "x")
    out = f"--out={tmp_path / 'i'}"
    assert "not written by jaxir" in refused(capsys, "index", f"--vectors={workdir}", out)
    assert "needs --vectors and --out" in refused(capsys, "index", out)
    small = f"--source={workdir.parent / 'small'}"
    assert "is not a work directory" in refused(capsys, "encode", f"--workdir={tmp_path}", small, out)
    assert "exists already" in refused(
        capsys, "encode", f"--workdir={workdir}", small, f"--out={workdir.parent / 'vectors'}"
    )
    at = f"--workdir={workdir}"
    assert "documents have no splits" in refused(capsys, "encode", at, small, out, "--split=train")
    assert "split of small 'test'" in refused(
        capsys, "encode", at, small, out, "--side=query", "--split=test"
    )
    assert "exact index has no options, given: leaves" in refused(
        capsys, "index", f"--vectors={workdir.parent / 'vectors'}", out, "--leaves=3"
    )
    assert not list(tmp_path.iterdir())


def test_an_index_of_another_model_is_refused(workdir, tmp_path, capsys):
    trained = load_model(workdir)
    values = np.ones((3, 32), np.float32)
    vectors.write(tmp_path / "v", values, ["a", "b", "c"], model="another")
    index.build(tmp_path / "v", tmp_path / "i", progress=False)
    said = refused(capsys, "search", f"--index={tmp_path / 'i'}", f"--workdir={workdir}", "x")
    assert "encoded by another model (another)" in said
    assert trained.fingerprint in said
    with pytest.raises(InputError, match="does not lead to its model"):
        find.find_model(tmp_path / "i")


def test_indexes_without_their_texts_show_ids(workdir, tmp_path, capsys):
    made_by = load_model(workdir).fingerprint
    values = np.eye(4, 32, dtype=np.float32)
    vectors.write(tmp_path / "v", values, list("abcd"), model=made_by, source={"path": "/gone"})
    index.build(tmp_path / "v", tmp_path / "i", progress=False)
    main(["search", f"--index={tmp_path / 'i'}", f"--workdir={workdir}", "sort list"])
    captured = capsys.readouterr()
    assert "showing ids only" in captured.err
    assert len(captured.out.splitlines()) == 4


def test_find_index_prefers_its_own_then_the_newest_exact(tmp_path):
    for name in ("retrieval/a/index-exact", "retrieval/a/index-scann"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"kind": "index"}))
    assert find.find_index(tmp_path) == tmp_path / "retrieval/a/index-exact"
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "manifest.json").write_text("{}")
    assert find.find_index(tmp_path) == tmp_path / "index"


@pytest.mark.parametrize("command", ["encode", "index", "search"])
def test_help_has_an_example(command, capsys):
    main([command, "--help"])
    assert f"jaxir {command} --" in capsys.readouterr().out


def test_mine(workdir, tmp_path, capsys):
    out = tmp_path / "negatives.jsonl"
    arguments = ["mine", f"--index={workdir / 'index'}", "--depth=4", f"--out={out}"]
    main([*arguments, "--per_query=4", "--max_score=0.999", "--scores"])
    assert "40 queries" in capsys.readouterr().out
    loaded, opened = load_model(workdir), index.open(workdir / "index")
    queries = model.encode_queries(loaded, [q.text for q in collection().queries["train"]])
    every = queries @ np.load(workdir / "index" / "arrays" / "vectors.npy").T
    for i, line in enumerate(map(json.loads, out.read_text().splitlines())):
        assert line["query_id"] == f"q{i}"
        assert line["doc_ids"][0] == f"d{i}"
        rows = [int(doc_id[1:]) for doc_id in line["doc_ids"]]
        np.testing.assert_allclose(line["scores"], every[i, rows], rtol=1e-4, atol=1e-5)
        assert all(score < 0.999 * line["scores"][0] for score in line["scores"][1:])
    # What the search did not find is scored by itself.
    origin = mining_origins.of_index(
        opened, loaded, open_prepared(workdir.parent / "small"), "train", depth=4
    )
    asked, wanted = np.arange(40), np.arange(40) * 7 % 60
    np.testing.assert_allclose(origin.score(asked, wanted), every[asked, wanted], rtol=1e-4, atol=1e-5)
    assert "the index" in refused(capsys, *arguments[:2], "--depth=61", f"--out={out}.2")
    assert "add --source" in refused(capsys, "mine", "--bm25", f"--out={out}.2")
