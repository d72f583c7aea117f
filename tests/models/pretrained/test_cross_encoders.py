"""Cross-encoders in folders: written, read, made of backbones; what cannot be read is said."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from jaxir.checks import InputError
from jaxir.models import pretrained
from jaxir.trees import named
from tests.models.pretrained import folders


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone") / "bert"
    folders.write(folder, dataclasses.replace(folders.BERT, max_positions=64))
    return folder


@pytest.fixture(scope="module")
def made(backbone):
    return pretrained.read(backbone, cross_encoder=dict(head_dropout=0.2))


def test_the_trunk_is_the_backbone_s_and_the_head_is_new(backbone, made):
    trunk = pretrained.read(backbone).params["trunk"]
    for name, leaf in named(trunk).items():
        np.testing.assert_array_equal(leaf, named(made.params["trunk"])[name])
    assert set(named(made.params)) - {f"trunk/{n}" for n in named(trunk)} == {
        "pooler/kernel", "pooler/bias", "head/kernel", "head/bias",
    }  # fmt: skip
    assert made.spec["sep_id"] == made.tokenizer.pair().middle[0]
    assert made.spec["head_dropout"] == 0.2


@pytest.mark.parametrize("to", ["sentence-transformers", "jaxir"])
def test_written_and_read(made, to, tmp_path):
    out = tmp_path / "out"
    pretrained.export(out, made.spec, made.params, made.tokenizer, to=to, max_length=60)
    again = pretrained.read(out)
    assert (again.spec["fn"], again.max_length) == (made.spec["fn"], 60)
    assert again.spec["sep_id"] == made.spec["sep_id"]
    for name, leaf in named(made.params).items():
        np.testing.assert_array_equal(leaf, named(again.params)[name])
    with pytest.raises(InputError, match="pooling is an argument of encoders of one text"):
        pretrained.read(out, pooling="mean")
    if to == "jaxir":
        return
    facts = json.loads((out / "config.json").read_text())
    assert facts["architectures"] == ["BertForSequenceClassification"]
    assert facts["sentence_transformers"]["activation_fn"].endswith("Identity")
    # Who leaves the head aside reads the trunk.
    assert pretrained.load(out, ignore=("^classifier",))[0].kind == "dense"
    # Three labels are no score; a new head on them is.
    tensors = safetensors.numpy.load_file(out / "model.safetensors")
    tensors["classifier.weight"] = np.zeros((3, 16), np.float32)
    tensors["classifier.bias"] = np.zeros(3, np.float32)
    safetensors.numpy.save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="a classifier of 3 labels"):
        pretrained.read(out)
    assert named(pretrained.read(out, cross_encoder={}).params)["head/kernel"].shape == (16, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(cross_encoder={}, pooling="mean"), "its own go into cross_encoder"),
        (dict(cross_encoder={}, sparse={}), "give one"),
        (dict(cross_encoder=dict(poolr="tanh")), "Did you mean 'pooler'"),
        (dict(cross_encoder=dict(token="yes")), "is for decoders"),
    ],
)
def test_mistakes(backbone, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        pretrained.read(backbone, **changes)


def test_another_head_cannot_be_said_elsewhere(made, tmp_path):
    spec = {**made.spec, "pooling": "mean"}
    with pytest.raises(InputError, match="its head has pooling='mean', and BertForSequenceClassification's"):
        pretrained.export(tmp_path / "out", spec, made.params, made.tokenizer)
