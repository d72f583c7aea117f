"""jaxir export: the folder, and a card that says what was trained, how, and what was measured."""

import json
import pathlib

import jax
import numpy as np
import pytest

from jaxir.cli.main import main
from jaxir.files import write_json, write_manifest
from jaxir.models import pretrained
from jaxir.models.pretrained.card import model_card
from jaxir.training.checkpoint import load_model
from jaxir.training.publish import publish
from jaxir.training.train import train
from tests.training.test_start import config_of

FIGURES = {"runs": {"bm25": {"nDCG@10": 0.25}, "dense_exact": {"nDCG@10": 0.125, "R@100": 0.5}}}


@pytest.fixture(scope="module")
def trained(texts, published, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train(config_of(texts, published), workdir, progress=False)
    report = workdir / "report-toy"
    report.mkdir()
    write_json(report / "results.json", FIGURES)
    write_manifest(report, "report", title="toy: 20 queries of test")
    return workdir


def test_a_run_and_its_card(trained, texts, published, tmp_path, capsys):
    main(["export", f"--workdir={trained}", "--to=jaxir", f"--out={tmp_path / 'm'}", "--name=My model"])
    assert "model card" in capsys.readouterr().out
    model = load_model(trained)
    found = pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, found.params, model.params)
    assert found.prompts == {"query": "ask: ", "doc": ""}
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: jaxir\n")
    assert "# My model" in card
    assert f"- beir:{texts}, split train" in card
    assert f"| started from | {published} |" in card
    assert "## Measured: toy: 20 queries of test\n\n| run | nDCG@10 | R@100 |" in card
    assert "| dense_exact | 0.1250 | 0.5000 |" in card
    assert f"{model.step} optimiser steps" in card
    config = card.partition("```json\n")[2].partition("\n```")[0]
    assert json.loads(config)["encoder"] == model.config["encoder"]


@pytest.mark.parametrize(("base", "named"), [("someone/tiny", True), ("here/tiny", False), ("tiny", False)])
def test_only_a_name_of_the_hub_is_a_base_model(base, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "tiny").mkdir(parents=True)
    facts = dict(dim=8, max_length=16, prompts={}, normalized=True)
    card = model_card("x", to="jaxir", config={"init_from": base}, step=1, **facts)
    assert (f"base_model: {base}\n" in card) == named


def test_the_card_of_a_sparse_model():
    how = dict(to="sentence-transformers", config={}, step=0, dim=80, max_length=16, normalized=False)
    encoder = dict(query="table", top_k=dict(query=None, doc=40))
    card = model_card("x", **how, prompts={}, kind="sparse", encoder=encoder)
    assert "| output | a weight of 0 or more for each of 80 entries of the vocabulary |" in card
    assert "| queries | a weight for each of their words from a table, without a model |" in card
    assert "| weights kept | at most 40 per doc |" in card
    assert 'SparseEncoder("path/of/this/folder")' in card
    assert "- sparse-encoder" in card


def test_published_weights_pass_through(published_bert, tmp_path):
    publish(published_bert, tmp_path / "m")
    before, after = pretrained.read(published_bert), pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, before.params, after.params)
    assert "Training" not in (tmp_path / "m" / "README.md").read_text()
    assert {f.name for f in pathlib.Path(published_bert).iterdir()} == {
        f.name for f in (tmp_path / "m").iterdir()
    }


def test_a_smaller_size_and_its_card(published_bert, tmp_path, capsys):
    main(["export", f"--workdir={published_bert}", f"--out={tmp_path / 'm'}", "--layers=1", "--dims=5"])
    said = capsys.readouterr().err
    assert "at 1 of 2 layers and 5 of 16 dimensions its quality may be far lower" in said
    found = pretrained.read(tmp_path / "m")
    assert (found.spec["layers"], found.spec["projection"][0]["features"]) == (1, 5)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| size | 1 of 2 layers and 5 of 16 dimensions of the model that was trained |" in card
    assert "one vector of 5 dimensions, of length 1" in card


def test_figures_of_the_whole_model_are_not_those_of_a_smaller_one(trained, tmp_path):
    with pytest.warns(UserWarning, match="config has no nested"):
        publish(trained, tmp_path / "m", to="jaxir", dims=3)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "## Measured: toy: 20 queries of test (of the whole model)" in card


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "--workdir and --out"),
        (["--workdir=nowhere", "--out=x"], "there is no folder 'nowhere'"),
        (["--workdir={trained}", "--out=x"], "sentence-transformers cannot say this encoder.*--to=jaxir"),
        (["--workdir={trained}", "--out=x", "--to=jaxir", "--step=9999"], "no checkpoint of step 9999"),
        (["--workdir={trained}", "--out=x", "--to=jaxir", "--step=first"], "best, latest or the number"),
        (["--workdir={trained}", "--out=x", "--to=jaxir", "--side=doc"], "one tower"),
        (["--workdir={trained}", "--out={trained}", "--to=jaxir"], "exists already"),
        (["--workdir={trained}", "--out=x", "--to=jaxir", "--layers=1"], "has no layers to choose from"),
        (["--workdir={trained}", "--out=x", "--to=jaxir", "--dims=9"], "has 1 to 8 dimensions"),
        (["--workdir={trained}", "--out=x", "--to=jaxir", "--layers=0"], "whole numbers above 0"),
        (["more"], "takes flags only"),
    ],
)
def test_mistakes(flags, says, trained, capsys, tmp_path, monkeypatch):
    import re

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as stopped:
        main(["export", *(flag.format(trained=trained) for flag in flags)])
    assert stopped.value.code == 2
    assert re.search(says, capsys.readouterr().err)
    assert not (tmp_path / "x").exists()
