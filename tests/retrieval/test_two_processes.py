"""jaxir encode, evaluate and search by two real processes: what one process writes and prints."""

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from jaxir.cli.main import main
from jaxir.data.prepare import prepare
from jaxir.retrieval.hosts import SPREAD_FROM
from jaxir.training.defaults import default_config
from jaxir.training.train import train
from jaxir.types import Doc, Qrel, Query, Source

pytestmark = pytest.mark.endtoend

TOPICS = ["solve linear system", "sort list keys", "open file path", "parse json text", "draw line plot"]
QUERIES = "sort list keys number 3\nparse json number 8\n"
PROGRAM = textwrap.dedent(
    """
    import sys
    from jaxir.cli.main import main
    place, index = sys.argv[1:]
    joining = [f"--distributed={place}", "--process_count=2", f"--process_index={index}"]
    source, workdir = "--source=small", "--workdir=two"
    main(["encode", workdir, source, "--out=two/vectors", "--shard_docs=1000", *joining])
    main(["evaluate", workdir, source, "--dev_split=", "--nobm25"])  # they are joined now
    main(["search", workdir, "-", "-k", "30"])
    """
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set with each text several times, far apart, and two work directories of one model."""
    path = tmp_path_factory.mktemp("two_processes")
    texts = [f"{TOPICS[i % 5]} number {i % 700}" for i in range(2 * SPREAD_FROM + 300)]
    docs = [Doc(f"d{i}", "", text) for i, text in enumerate(texts)]
    queries = [Query(f"q{i}", docs[i].text) for i in range(30)]
    qrels = [Qrel(f"q{i}", f"d{i}", 1) for i in range(30)]
    splits = ("train", "test")
    source = Source("small", docs, dict.fromkeys(splits, queries), dict.fromkeys(splits, qrels))
    config = default_config()
    config.data.source = str(prepare(source, path / "small", progress=False).path)
    config.tokenizer.vocab_size = 300
    config.encoder = dict(fn="jaxir.models.static:static", dim=16)
    config.steps, config.batch_size = 2, 16
    train(config, path / "one", progress=False)
    subprocess.run(["cp", "-r", path / "one", path / "two"], check=True)
    return path


def two_processes(folder):
    """What the two print: PROGRAM with queries at the standard input of process 0."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, place, str(index)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        for index in range(2)
    ]
    running[0].stdin.write(QUERIES)
    running[0].stdin.close()
    running[0].stdin = None
    outcomes = [process.communicate(timeout=180) for process in running]
    assert [process.returncode for process in running] == [0, 0], outcomes
    return [
        "".join(line for line in out.splitlines(True) if not line.startswith("[Gloo]")) for out, _ in outcomes
    ]


def test_two_processes_do_what_one_does(folder, monkeypatch, capsys, tmp_path):
    first, second = two_processes(folder)
    assert second == ""
    monkeypatch.chdir(folder)
    main(["encode", "--workdir=one", "--source=small", "--out=one/vectors", "--shard_docs=1000"])
    main(["evaluate", "--workdir=one", "--source=small", "--dev_split=", "--nobm25"])
    (tmp_path / "queries").write_text(QUERIES)
    with (tmp_path / "queries").open() as queries:
        monkeypatch.setattr("sys.stdin", queries)
        main(["search", "--workdir=one", "-", "-k", "30"])
    assert first.replace("two", "one") == capsys.readouterr().out
    for name in ("vectors/vectors.npy", "vectors/ids.npy"):
        assert (folder / "two" / name).read_bytes() == (folder / "one" / name).read_bytes(), name
    [found] = (folder / "one").glob("retrieval/*/test.dense_exact.trec")
    assert found.read_bytes() == (folder / "two" / found.relative_to(folder / "one")).read_bytes()
    ranks = [line.split()[2] for line in found.read_text().splitlines()[:12]]
    assert {"d0", "d7000"} <= set(ranks)  # equal texts that different processes hold
