"""Masked pre-training of a small collection, and what begins from it."""

import jax
import numpy as np
import pytest

from jaxir import trees
from jaxir.checks import InputError
from jaxir.config import load_config
from jaxir.training.build import build_encoder
from jaxir.training.checkpoint import load_model
from jaxir.training.log import read_log
from jaxir.training.start import begin
from jaxir.training.train import train


@pytest.fixture(scope="module")
def pretrained(texts, tmp_path_factory):
    """The work directory of smae:smoke with more steps, on a corpus without queries."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "corpus.jsonl").write_bytes((texts / "corpus.jsonl").read_bytes())
    config = load_config("smae:smoke")
    config.data.source = f"beir:{folder}"
    config.mesh.data = 1
    config.encoder.update(layers=1, sizes=((1, 8), (1, 32)))  # compiles sooner
    config.data.packed = False
    config.steps, config.log.every, config.optimizer.learning_rate = 40, 1, 3e-3
    workdir = tmp_path_factory.mktemp("runs") / "smae"
    train(config, workdir, progress=False)
    return workdir


def test_the_loss_of_hidden_tokens_falls(pretrained):
    losses = [line["tokens"] for line in read_log(pretrained)]
    assert len(losses) == 40
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:8])


def test_what_it_leaves_is_a_dense_encoder_a_sparse_one_or_goes_on(pretrained):
    dense = load_model(pretrained)
    assert (dense.encoder.kind, dense.encoder.dim, dense.encoder.normalized) == ("dense", 32, True)
    assert dense.params.keys() == {"trunk"}
    assert dense.config["encoder"]["pooling"] == "mean"
    assert load_model(pretrained, pooling="cls").config["encoder"]["pooling"] == "cls"
    sparse = load_model(pretrained, sparse={})
    assert sparse.encoder.kind == "sparse"
    again = load_model(pretrained, pretraining=dict(mask=0.3))
    assert again.encoder.kind == "losses"
    everything, same = trees.named(again.params), np.testing.assert_array_equal
    for name, x in trees.named({**dense.params, **sparse.params}).items():
        same(x, everything[name], err_msg=name)
    # The head and the decoder are the trained ones, and not those of a random start.
    assert np.asarray(everything["mlm/bias"]).any()
    assert not np.array_equal(
        everything["decoder/layers_0/ffn/up/kernel"], everything["trunk/layers_0/ffn/up/kernel"]
    )


def test_a_dense_run_begins_from_it(pretrained, tmp_path):
    config = load_config("dense:smoke").to_dict()
    config["init_from"] = str(pretrained)
    config, model = begin(config, tmp_path)
    assert config["encoder"]["fn"] == "jaxir.models.encoder:transformer"
    assert (tmp_path / "tokenizer.json").is_file()
    encoder = build_encoder(config, model.tokenizer)
    shapes = trees.named(jax.eval_shape(encoder.init, jax.random.key(0)))
    assert {n: x.shape for n, x in trees.named(model.params).items()} == {
        n: x.shape for n, x in shapes.items()
    }


def test_published_weights_without_a_head_are_pretrained_too(published_bert):
    model = load_model(published_bert, pretraining=dict(sizes=((1, 8),)))
    assert model.encoder.kind == "losses"
    named = trees.named(model.params)
    path = "layers_0/attention/query/kernel"
    np.testing.assert_array_equal(named[f"decoder/{path}"], named[f"trunk/{path}"])
    spec = model.config["encoder"]
    assert model.tokenizer.backend.id_to_token(spec["mask_id"]) == "[MASK]"
    assert spec["continues"]
    with pytest.raises(InputError, match="pooling does not go with pretraining"):
        load_model(published_bert, pretraining={}, pooling="cls")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("eval.every", 10, "set eval.every=0"),
        ("nested", dict(fn="jaxir.objectives:matryoshka", dims=(8, 32)), "encoder.sizes"),
    ],
)
def test_what_needs_representations_is_refused(field, value, message, tmp_path):
    config = load_config("smae:smoke").to_dict()
    parent, _, name = field.rpartition(".")
    (config[parent] if parent else config)[name] = value
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "run", progress=False)


def test_a_static_encoder_has_nothing_to_pretrain(published):
    with pytest.raises(InputError, match="static"):
        load_model(published, pretraining={})
