"""Commands on published weights: --model names them, --workdir is where things are written."""

import pytest

from jaxir.cli.main import main
from jaxir.files import read_json
from jaxir.retrieval.model import cut_model
from jaxir.training.checkpoint import load_model


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def evaluated(texts, published, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("home")
    main(
        ["evaluate", f"--model={published}", f"--workdir={workdir}", f"--source=beir:{texts}",
         "--split=dev", "--measures=MRR@10", "--nobm25"]
    )  # fmt: skip
    return workdir


def test_the_whole_chain(evaluated, published, capsys):
    (index,) = evaluated.glob("retrieval/*/index-exact")
    for where in (
        [f"--workdir={evaluated}"],
        [f"--index={index}"],
        [f"--index={index}", f"--model={published}"],
    ):
        main(["search", *where, "-k", "2", "bara doso"])
        assert len([line for line in capsys.readouterr().out.splitlines() if "d" in line]) >= 2
    with pytest.raises(SystemExit) as stopped:  # it finds that random weights retrieve nothing
        main(["doctor", f"--index={index}"])
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert "fingerprints: model, index belong" in out
    assert "1 failed" in out
    assert not (published / "data").exists()


def test_vectors(evaluated, texts, published, tmp_path, capsys):
    common = [f"--workdir={evaluated}", f"--source=beir:{texts}", f"--out={tmp_path / 'v'}"]
    assert "not a work directory of jaxir train" in refused(capsys, "encode", *common)
    main(["encode", f"--model={published}", *common])
    assert (tmp_path / "v" / "manifest.json").is_file()


def test_search_asks_at_the_size_of_the_vectors(published, texts, tmp_path, capsys):
    home = [f"--model={published}", f"--workdir={tmp_path}"]
    encode = ["encode", *home, f"--source=beir:{texts}"]
    main([*encode, "--dims=3", f"--out={tmp_path / 'small'}"])
    main(["index", f"--vectors={tmp_path / 'small'}", f"--out={tmp_path / 'index'}"])
    manifest = read_json(tmp_path / "index" / "manifest.json")
    assert (manifest["dim"], manifest["settings"]["size"]) == (3, {"layers": None, "dims": 3})
    assert "at 3 of 8 dimensions its quality may be far lower" in capsys.readouterr().err
    main(["search", f"--workdir={tmp_path}", "-k", "2", "bara doso"])
    assert len([line for line in capsys.readouterr().out.splitlines() if "d" in line]) >= 2
    with pytest.raises(SystemExit):  # random weights
        main(["doctor", f"--index={tmp_path / 'index'}"])
    assert "fingerprints: model, index belong" in capsys.readouterr().out
    whole = load_model(published)
    assert cut_model(whole, dims=8) is whole
    small = cut_model(whole, dims=4, warn=False)
    twice = cut_model(small, dims=3, warn=False)
    assert twice.fingerprint == manifest["model"] != small.fingerprint
    assert "has 1 to 8 dimensions" in refused(capsys, *encode, "--dims=9", f"--out={tmp_path / 'x'}")


def test_mistakes(published, tmp_path, texts, capsys):
    source = f"--source=beir:{texts}"
    assert "--model needs --workdir" in refused(capsys, "evaluate", f"--model={published}", source)
    assert f"--model={published}" in refused(capsys, "evaluate", f"--workdir={published}", source)
    assert "name one to take texts from" in refused(
        capsys, "doctor", f"--model={published}", f"--workdir={tmp_path}"
    )
    assert "holds no model" in refused(capsys, "doctor", f"--model={tmp_path}", source)
