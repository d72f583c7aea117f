"""Runs that begin from published weights: whole, frozen in part, by adapters; resumed, loaded, refused."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from jaxir import trees
from jaxir.checks import InputError
from jaxir.config import load_config
from jaxir.files import read_json
from jaxir.models import pretrained
from jaxir.training.checkpoint import load_model
from jaxir.training.log import read_log
from jaxir.training.mesh import make_mesh, param_shardings
from jaxir.training.train import train


def config_of(texts, published, variant="smoke", **fields):
    config = load_config(f"finetune:{variant}")
    config.init_from = str(published)
    config.data.source = f"beir:{texts}"
    config.mesh.data = 1
    config.optimizer.learning_rate = 1e-2
    config.eval.every = 0
    for key, value in fields.items():
        *parents, name = key.split("__")
        target = config
        for parent in parents:
            target = target[parent]
        target[name] = value
    return config


def saved_names(workdir, step=4):
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointHandler().metadata(workdir.absolute() / "checkpoints" / str(step) / "params")
    return set(trees.named(tree.tree))


FROZEN = dict(optimizer__frozen=("token_logit",), optimizer__lr_multipliers=(("projection", 0.0),))
ADAPTERS = dict(ema_decay=0.5, lora__targets="embedding$|kernel$")


@pytest.fixture(scope="module")
def whole(texts, published, tmp_path_factory):
    """The embeddings alone move."""
    workdir = tmp_path_factory.mktemp("whole")
    train(config_of(texts, published, **FROZEN), workdir, progress=False)
    return workdir


@pytest.fixture(scope="module")
def adapters(texts, published, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("adapters")
    train(config_of(texts, published, "lora,smoke", **ADAPTERS), workdir, progress=False)
    return workdir


def halfway(workdir, copy):
    """A copy of a run that was stopped at its first checkpoint."""
    shutil.copytree(workdir, copy)
    shutil.rmtree(copy / "checkpoints" / "4")
    return copy


def test_freezing_and_multipliers_on_a_pretrained_start(whole, published):
    before, model = load_model(published), load_model(whole)
    assert (model.params["embedding"] != before.params["embedding"]).any()
    np.testing.assert_array_equal(model.params["token_logit"], before.params["token_logit"])
    np.testing.assert_array_equal(model.params["projection"]["kernel"], before.params["projection"]["kernel"])
    assert (model.step, model.path) == (4, whole)


def test_the_work_directory_stands_by_itself(whole, published):
    config, found = read_json(whole / "config.json"), pretrained.read(published)
    assert config["encoder"] == found.spec
    assert config["prefixes"] == {"query": "ask: ", "doc": ""}
    assert config["start"]["fingerprint"] == found.fingerprint
    assert load_model(whole).tokenizer.fingerprint == found.tokenizer.fingerprint


def test_a_run_goes_on_without_reading_the_weights_again(whole, texts, published, tmp_path, monkeypatch):
    copy = halfway(whole, tmp_path / "copy")
    config = config_of(texts, published, **FROZEN)
    monkeypatch.setattr(pretrained, "read", None)
    train(config, copy, progress=False)
    jax.tree.map(np.testing.assert_array_equal, load_model(copy).params, load_model(whole).params)
    config.init_with.dropout = 0.0
    with pytest.raises(InputError, match=r"init_with.dropout was 0.1, is 0.0"):
        train(config, copy, progress=False)
    config.init_from = None
    config.init_with.dropout = None
    with pytest.raises(InputError, match=r"init_from was '.*static', is None"):
        train(config, copy, progress=False)


def test_adapters_leave_the_base_as_it_is_and_are_all_that_is_saved(adapters, published):
    assert saved_names(adapters) == {
        f"encoder/lora/{name}/{x}" for name in ("embedding", "projection/kernel") for x in "ab"
    }
    before, after = load_model(published).params, load_model(adapters).params
    assert jax.tree.structure(before) == jax.tree.structure(after)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), before, after)
    assert same == {"embedding": False, "token_logit": True, "projection": {"kernel": False}}


def test_a_run_of_adapters_goes_on_to_the_same_bits(adapters, texts, published, tmp_path):
    copy = halfway(adapters, tmp_path / "copy")
    state = train(config_of(texts, published, "lora,smoke", **ADAPTERS), copy, progress=False)
    one, other = load_model(adapters), load_model(copy)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    jax.tree.map(np.testing.assert_array_equal, state.params["encoder"]["base"], load_model(published).params)
    sizes = [x.size for x in jax.tree.leaves((state.opt_state, state.ema))]
    assert max(sizes) == 160  # A of the embeddings; nothing of the base
    assert one.config["encoder"]["fn"] == "jaxir.models.static:static"
    assert one.encoder.dim == 8


def test_trained_only_checks_that_the_weights_are_the_same(adapters, published, tmp_path):
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    shutil.copytree(adapters, copy)
    shutil.copytree(published, moved)
    config = read_json(copy / "config.json")
    config["start"]["path"] = str(moved)
    (copy / "config.json").write_text(json.dumps(config))
    load_model(copy)
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + b"12345678")
    with pytest.raises(InputError, match="has changed since the run began"):
        load_model(copy)
    config["start"]["path"] = config["init_from"] = str(tmp_path / "nowhere" / "at" / "all")
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"cannot be read.*start.path in config.json"):
        load_model(copy)


def test_a_run_may_begin_from_a_work_directory_and_change_its_head(adapters, texts, tmp_path):
    config = config_of(texts, adapters, steps=1, init_with__projection=4, init_with__normalize=False)
    config.checkpoint.trained_only = True  # nothing is frozen: all is saved
    config.optimizer.learning_rate = 1e-9
    train(config, tmp_path, progress=False)
    model, start = load_model(tmp_path), load_model(adapters)
    assert (model.encoder.dim, model.encoder.normalized) == (4, False)
    assert model.params["projection"]["kernel"].shape == (16, 4)
    np.testing.assert_allclose(model.params["embedding"], start.params["embedding"], atol=1e-6)
    assert model.config["prefixes"]["query"] == "ask: "
    two = load_model(adapters, towers="separate").params
    for side in ("query", "doc"):
        jax.tree.map(np.testing.assert_array_equal, two[side], start.params)


def test_on_a_mesh_the_losses_are_the_same(texts, published, tmp_path, monkeypatch):
    """FSDP on four devices, weights read straight into their shards; adapters and one whole matrix."""

    def small(shapes, mesh, *, rules=(), min_size=0):
        return param_shardings(shapes, mesh, rules=rules, min_size=64)

    for module in ("start", "step"):
        monkeypatch.setattr(f"jaxir.training.{module}.param_shardings", small)
    logs = []
    for name, mesh in (("one", (1, 1)), ("many", (2, 4))):
        config = config_of(texts, published, "lora,smoke", steps=2, log__every=1)
        config.lora.update(dropout=0.0, targets="embedding$", trained=("projection",))
        config.mesh.data, config.mesh.fsdp = mesh
        state = train(config, tmp_path / name, progress=False)
        logs.append([line["loss"] for line in read_log(tmp_path / name) if "loss" in line])
    np.testing.assert_allclose(*logs, rtol=1e-4)
    base, start = state.params["encoder"]["base"], load_model(published).params
    assert {s.data.shape for s in base["embedding"].addressable_shards} == {(20, 16)}
    np.testing.assert_array_equal(base["embedding"], start["embedding"])
    assert (np.asarray(base["projection"]["kernel"]) != start["projection"]["kernel"]).all()
    mesh = make_mesh(2, 4)
    sharded = load_model(tmp_path / "one", shardings=lambda shapes: small(shapes, mesh)).params
    assert {s.data.shape for s in sharded["embedding"].addressable_shards} == {(20, 16)}
    one = load_model(tmp_path / "one").params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), sharded, one)


def test_bfloat16_computation_keeps_float32_weights(texts, published_bert, tmp_path):
    config = config_of(texts, published_bert, steps=1)
    config.init_with.update(dtype="bfloat16", remat="full", attention="xla", layers=1, dropout=None)
    state = train(config, tmp_path, progress=False)
    assert {str(x.dtype) for x in jax.tree.leaves(state.params)} == {"float32"}
    model = load_model(tmp_path, pooling="cls")
    spec = model.config["encoder"]
    assert [spec[k] for k in ("dtype", "remat", "attention", "layers")] == ["bfloat16", "full", "xla", 1]
    assert not any("layers_1" in name for name in trees.named(model.params))
    with pytest.raises(InputError, match="no head over its vocabulary"):
        load_model(tmp_path, sparse={})
    sparse = load_model(tmp_path, sparse=dict(head=dict(transform=False), query="table"), dtype="float32")
    assert sparse.encoder.kind == "sparse"
    jax.tree.map(np.testing.assert_array_equal, sparse.params["trunk"], model.params["trunk"])
    np.testing.assert_array_equal(sparse.params["query_weights"], np.ones(80))


def test_published_weights_are_a_model(published, published_bert):
    model = load_model(published)
    assert (model.step, model.path) == (0, published)
    assert model.config["max_length"] == {"query": 24, "doc": 24}
    assert model.config["prefixes"] == {"query": "ask: ", "doc": ""}
    assert model.config["data"]["doc_text"] == "title+text"
    with pytest.raises(InputError, match="no folder"):
        load_model(pathlib.Path("./no/such/folder"))
    changed = load_model(published_bert, pooling="cls", dtype="bfloat16")
    assert changed.fingerprint != load_model(published_bert).fingerprint
    assert changed.params["trunk"]["token_embedding"]["embedding"].dtype == np.float32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(init_from=None, lora__rank=2), "lora.rank is 2 and there is no init_from"),
        (dict(init_from=None, init_with__remat="full"), "set init_from, or encoder.dropout"),
        (dict(init_from=None, init_with__dropout=None, checkpoint__trained_only=True), "trained_only leaves"),
        (dict(lora__rank=2, init_with__projection=4), "lora.trained="),
        (dict(lora__rank=2, lora__targets="kernal"), "'kernal' matches no parameter"),
        (dict(optimizer__frozen=("encoder",)), "nothing to train"),
        (dict(optimizer__frozen=("embeding",)), "'embeding' matches no parameter"),
        (dict(max_length=dict(query=8, doc=64)), "max_length is 64 tokens and the encoder has positions for"),
        (dict(init_with__pooling="men"), "unknown pooling 'men'"),
        (dict(init_with__attention="cudnn"), "attention='cudnn' computes in bfloat16"),
    ],
)
def test_mistakes(fields, message, texts, published_bert, tmp_path):
    with pytest.raises(InputError, match=message):
        train(config_of(texts, published_bert, **fields), tmp_path, progress=False)
    assert not list(tmp_path.glob("checkpoints/[0-9]*"))
