import json
import shutil
import struct

import jax
import numpy as np
import pytest
import safetensors.numpy
from jax.sharding import NamedSharding, PartitionSpec

from jaxir.checks import InputError
from jaxir.config import build
from jaxir.data.padding import pad
from jaxir.models import pretrained
from jaxir.models.pretrained import weights
from jaxir.models.pretrained.names import Tensor
from jaxir.trees import named
from tests.models.pretrained import folders


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "bert"
    spec, params = folders.write(folder)
    return folder, spec, params


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model[0], tmp_path / "copy")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def encode(folder, text="the quick fox", **options):
    encoder, params, tokenizer = pretrained.load(folder, **options)
    return np.asarray(encoder.encode(params, pad(tokenizer.encode_batch([text], max_length=16))).values[0])


# -- what a folder says ---------------------------------------------------------------------------------


def test_a_folder_runs_as_it_is_meant_to(copy):
    whole = encode(copy)
    np.testing.assert_allclose(np.linalg.norm(whole), 1, rtol=1e-5)
    modules = json.loads((copy / "modules.json").read_text())
    (copy / "modules.json").write_text(json.dumps(modules[:2]))  # no Normalize
    plain = encode(copy)
    np.testing.assert_allclose(plain / np.linalg.norm(plain), whole, rtol=1e-4, atol=1e-6)
    assert abs(np.linalg.norm(plain) - 1) > 0.01
    edit(copy / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    cls = encode(copy)
    edit(copy / "1_Pooling" / "config.json", pooling_mode_mean_tokens=True)
    np.testing.assert_allclose(encode(copy), [*cls, *plain], rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_modules_are_read_and_written(bias, tmp_path):
    maps = (
        dict(features=12, bias=bias, activation="tanh"),
        dict(features=5, bias=False, activation="identity"),
    )
    spec, params = folders.write(tmp_path / "m", projection=maps, pooling=("mean", "cls"))
    found = pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    assert params["projection_0"]["kernel"].shape == (32, 12)
    ids = pad([np.array([5, 6, 7], np.int32)])
    want = build({**spec, "projection": None, "normalize": False}).encode({"trunk": params["trunk"]}, ids)
    x = np.asarray(want.values, np.float64) @ params["projection_0"]["kernel"]
    x = np.tanh(x + (params["projection_0"]["bias"] if bias else 0)) @ params["projection_1"]["kernel"]
    got = build(found.spec).encode(found.params, ids).values
    np.testing.assert_allclose(got, x / np.linalg.norm(x), atol=1e-5)


def test_lengths_and_prompts(copy):
    assert pretrained.read(copy).max_length == 16
    (copy / "sentence_bert_config.json").unlink()
    edit(copy / "tokenizer_config.json", model_max_length=10)
    assert pretrained.read(copy).max_length == 10
    edit(copy / "tokenizer_config.json", model_max_length=1e30)  # how transformers writes "none"
    assert pretrained.read(copy).max_length == 20  # the learned positions
    facts = copy / "config_sentence_transformers.json"
    edit(facts, prompts={"query": "query: ", "passage": "passage: "})
    assert pretrained.read(copy).prompts == {"query": "query: ", "doc": "passage: "}
    edit(facts, prompts={"both": "text: "}, default_prompt_name="both")
    assert pretrained.read(copy).prompts == {"query": "text: ", "doc": "text: "}


def test_lower_casing_before_the_tokenizer(copy):
    backend = json.loads((copy / "tokenizer.json").read_text())
    backend["normalizer"] = None
    (copy / "tokenizer.json").write_text(json.dumps(backend))
    assert abs(encode(copy, "FOX") - encode(copy, "fox")).max() > 1e-3
    edit(copy / "sentence_bert_config.json", do_lower_case=True)
    np.testing.assert_array_equal(encode(copy, "FOX"), encode(copy, "fox"))


def test_a_bare_backbone(copy, tmp_path):
    for name in ("modules.json", "config_sentence_transformers.json"):
        (copy / name).unlink()
    assert pretrained.read(copy).spec["pooling"] == "mean"
    spec = folders.spec_of(folders.LLAMA)
    pretrained.export(tmp_path / "llama", spec, folders.random_params(spec), folders.tiny_tokenizer())
    (tmp_path / "llama" / "modules.json").unlink()
    assert pretrained.read(tmp_path / "llama").spec["pooling"] == "last"
    assert pretrained.read(tmp_path / "llama", causal=False, pooling="mean").spec["causal"] is False


def test_the_oldest_names_and_tied_copies(copy):
    tensors = safetensors.numpy.load_file(copy / "model.safetensors")
    old = {
        "bert."
        + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in tensors.items()
    }
    old["bert.pooler.dense.weight"] = np.zeros((16, 16), np.float32)
    old["cls.predictions.bias"] = np.arange(80, dtype=np.float32)
    old["cls.predictions.decoder.weight"] = tensors["embeddings.word_embeddings.weight"]
    old["cls.predictions.transform.dense.weight"] = np.ones((16, 16), np.float32)
    old["cls.predictions.transform.dense.bias"] = np.ones(16, np.float32)
    old["cls.predictions.transform.LayerNorm.gamma"] = np.ones(16, np.float32)
    old["cls.predictions.transform.LayerNorm.beta"] = np.ones(16, np.float32)
    before = pretrained.read(copy).params
    safetensors.numpy.save_file(old, copy / "model.safetensors")
    jax.tree.map(np.testing.assert_array_equal, pretrained.read(copy).params, before)
    with_head = pretrained.read(copy, mlm=True)
    np.testing.assert_array_equal(with_head.params["mlm"]["bias"], np.arange(80))
    assert with_head.head == {"activation": "gelu"}


def test_static_folders(tmp_path):
    tokenizer = folders.tokenizers.train(folders.TEXTS, vocab_size=60, add_special=False)
    spec = dict(fn="jaxir.models.static:static", vocab_size=70, dim=8, token_weights=False)
    params = folders.random_params(spec)
    pretrained.export(tmp_path / "m", spec, params, tokenizer)
    found = pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    with pytest.raises(InputError, match="special tokens"):
        pretrained.export(tmp_path / "n", spec, params, folders.tiny_tokenizer())


def test_changes(model):
    folder, _, params = model
    cut = pretrained.read(folder, layers=1, normalize=False, dropout=0.0)
    assert "layers_1" not in cut.params["trunk"]
    jax.tree.map(np.testing.assert_array_equal, cut.params["trunk"]["layers_0"], params["trunk"]["layers_0"])
    twice = pretrained.read(folder, towers="separate")
    jax.tree.map(np.testing.assert_array_equal, twice.params["doc"], twice.params["query"])
    small = pretrained.read(folder, projection=4)
    assert small.params["projection"]["kernel"].shape == (16, 4)
    assert abs(np.asarray(small.params["projection"]["kernel"])).max() > 0
    half = pretrained.read(folder, dtype="bfloat16")
    assert {str(x.dtype) for x in jax.tree.leaves(half.params)} == {"bfloat16"}
    mixed = pretrained.read(folder, dtype="bfloat16", param_dtype="float32")
    assert mixed.spec["dtype"] == "bfloat16"
    jax.tree.map(np.testing.assert_array_equal, mixed.params, params)


def test_own_format(tmp_path):
    spec = folders.spec_of(folders.change(folders.MODERN, first_norm=True), towers="separate", projection=4)
    params = folders.random_params(spec)
    pretrained.export(
        tmp_path / "m",
        spec,
        params,
        folders.tiny_tokenizer(),
        to="jaxir",
        prompts={"query": "q: "},
        max_length=9,
    )
    found = pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    assert (found.prompts, found.max_length) == ({"query": "q: ", "doc": ""}, 9)
    assert "layers_1" not in pretrained.read(tmp_path / "m", layers=1).params["doc"]["trunk"]
    one = pretrained.read(tmp_path / "m", projection=6).params["query"]
    assert one["projection"]["kernel"].shape == (16, 6)
    edit(tmp_path / "m" / "config.json", jaxir={"encoder": {"fn": "os:system", "command": "true"}})
    with pytest.raises(InputError, match="os:system"):  # a downloaded folder is data, not a program
        pretrained.read(tmp_path / "m")


def test_separate_towers_are_exported_one_by_one(tmp_path):
    spec = folders.spec_of(folders.BERT, towers="separate")
    params = folders.random_params(spec)
    tokenizer = folders.tiny_tokenizer()
    with pytest.raises(InputError, match="--side=query"):
        pretrained.export(tmp_path / "m", spec, params, tokenizer)
    pretrained.export(tmp_path / "m", spec, params, tokenizer, side="doc")
    jax.tree.map(np.testing.assert_array_equal, pretrained.read(tmp_path / "m").params, params["doc"])


# -- where the weights go -------------------------------------------------------------------------------


def test_weights_go_straight_into_their_sharding(tmp_path, monkeypatch):
    folders.write(tmp_path / "m", folders.MODERN)
    whole = named(pretrained.read(tmp_path / "m").params)
    mesh = jax.make_mesh((4,), ("fsdp",))
    largest = 0
    read = weights.Weights.read

    def watched(self, name, index):
        nonlocal largest
        values = read(self, name, index)
        largest = max(largest, values.size)
        return values

    monkeypatch.setattr(weights.Weights, "read", watched)

    def over_fsdp(shapes):
        def place(x):
            spec = ["fsdp" if n % 4 == 0 and i == 0 else None for i, n in enumerate(x.shape)]
            return NamedSharding(mesh, PartitionSpec(*spec))

        return jax.tree.map(place, shapes)

    sharded = named(pretrained.read(tmp_path / "m", shardings=over_fsdp).params)
    for path, leaf in sharded.items():
        np.testing.assert_array_equal(leaf, whole[path])
        assert leaf.sharding.spec[0] == "fsdp"
    assert largest == 80 * 16 // 4  # no device's part was read as a whole tensor


@pytest.mark.parametrize("part", [0, 2])
@pytest.mark.parametrize("transpose", [True, False])
def test_parts_of_fused_tensors(part, transpose, tmp_path):
    stored = np.arange(6 * 4, dtype=np.float32).reshape(6, 4)
    safetensors.numpy.save_file({"x": stored}, tmp_path / "model.safetensors")
    tensor = Tensor("x", transpose, part, 3)
    want = stored[2 * part : 2 * part + 2]
    want = want.T if transpose else want
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    opened = weights.open_folder(tmp_path)
    got = weights.read_leaf(opened, tensor, jax.ShapeDtypeStruct(want.shape, np.float32), np.float32, one)
    np.testing.assert_array_equal(got, want)
    assert weights.stored_shape(tensor, want.shape) == (6, 4)


def test_weights_in_several_files(copy):
    before = pretrained.read(copy).params
    tensors = safetensors.numpy.load_file(copy / "model.safetensors")
    names = sorted(tensors)
    (copy / "model.safetensors").unlink()
    where = {}
    for i, some in enumerate((names[::2], names[1::2])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        safetensors.numpy.save_file({n: tensors[n] for n in some}, copy / file)
        where |= dict.fromkeys(some, file)
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    jax.tree.map(np.testing.assert_array_equal, pretrained.read(copy).params, before)
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="lacks model-00002-of-00002"):
        pretrained.read(copy)


def test_the_fingerprint_follows_the_weights(model, copy):
    assert pretrained.read(copy).fingerprint == pretrained.read(model[0]).fingerprint
    tensors = safetensors.numpy.load_file(copy / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"] = tensors["embeddings.LayerNorm.bias"] + 1e-3
    safetensors.numpy.save_file(tensors, copy / "model.safetensors")
    assert pretrained.read(copy).fingerprint != pretrained.read(model[0]).fingerprint


# -- mistakes -------------------------------------------------------------------------------------------


def refused(folder, says, **options):
    with pytest.raises(InputError, match=says):
        pretrained.load(folder, **options)


def test_missing_unused_and_wrong_tensors_are_listed(copy):
    tensors = safetensors.numpy.load_file(copy / "model.safetensors")
    missing = tensors.pop("encoder.layer.1.output.dense.bias")
    tensors["classifier.weight"] = np.zeros((2, 16), np.float32)
    tensors["embeddings.LayerNorm.weight"] = np.zeros(8, np.float32)
    safetensors.numpy.save_file(tensors, copy / "model.safetensors")
    with pytest.raises(InputError) as error:
        pretrained.load(copy)
    text = str(error.value)
    assert "missing: encoder.layer.1.output.dense.bias" in text
    assert "embeddings.LayerNorm.weight is [8], by the config [16]" in text
    assert "unused: classifier.weight" in text
    tensors["encoder.layer.1.output.dense.bias"] = missing
    tensors["embeddings.LayerNorm.weight"] = np.ones(16, np.float32)
    safetensors.numpy.save_file(tensors, copy / "model.safetensors")
    refused(copy, "unused: classifier.weight")
    pretrained.load(copy, ignore=["^classifier"])


def test_config_and_weights_of_different_models(copy):
    edit(copy / "config.json", vocab_size=90)
    refused(copy, r"word_embeddings.weight is \[80, 16\], by the config \[90, 16\]")


def test_damaged_weights(copy):
    path = copy / "model.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:50], b"", struct.pack("<Q", 1 << 40) + whole[8:]):
        path.write_bytes(damaged)
        refused(copy, "model.safetensors is damaged or cut short")


def test_pickles_are_refused_with_the_way_out(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    refused(copy, r"pytorch_model.bin, which can run code.*save_pretrained")
    (copy / "pytorch_model.bin").unlink()
    refused(copy, "holds no weights")


def test_quantised_weights(copy):
    tensors = safetensors.numpy.load_file(copy / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"] = np.zeros(16, np.int8)
    safetensors.numpy.save_file(tensors, copy / "model.safetensors")
    refused(copy, "holds I8 numbers")


def test_missing_or_foreign_tokenizer(copy, tmp_path):
    big = folders.tokenizers.train([f"word{i} thing{i}" for i in range(300)], vocab_size=500)
    big.save(copy / "tokenizer.json")
    refused(copy, "the tokenizer has .* do not belong together")
    (copy / "tokenizer.json").unlink()
    refused(copy, "no tokenizer.json.*AutoTokenizer")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("sentence_transformers.sparse_encoder.models.SparseAutoEncoder", "SparseAutoEncoder.*cannot load"),
        (
            "sentence_transformers.sparse_encoder.models.SpladePooling",
            "SpladePooling, Normalize",
        ),
        ("pylate.models.Dense.Dense", "Transformer, Dense"),
        ("sentence_transformers.models.CNN", "Transformer, CNN"),
    ],
)
def test_modules_that_are_not_supported_are_named(kind, says, copy):
    modules = json.loads((copy / "modules.json").read_text())
    modules[1]["type"] = kind
    (copy / "modules.json").write_text(json.dumps(modules))
    refused(copy, says)


@pytest.mark.parametrize("kind", ["SparseEncoder", "ColBERT", "CrossEncoder"])
def test_kinds_that_are_not_supported_are_named(kind, copy):
    edit(copy / "config_sentence_transformers.json", model_type=kind)
    refused(copy, "cannot load yet")


def test_pooling_without_the_prompt(copy):
    edit(copy / "1_Pooling" / "config.json", include_prompt=False)
    refused(copy, "leaves the prompt out")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(pool="cls"), "pooling"),
        (dict(dim=8), "dim"),
        (dict(layers=3), "has 2"),
        (dict(dtype="float64"), "float64"),
        (dict(revision="main"), "revision"),
        (dict(mlm=True), "missing: cls.predictions.bias"),
    ],
)
def test_options(options, says, model):
    refused(model[0], says, **options)


def test_no_model(tmp_path):
    refused(tmp_path, "is no model")
    refused(tmp_path / "nothing", "there is no folder")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "is a file")
    (tmp_path / "work" / "checkpoints").mkdir(parents=True)
    (tmp_path / "work" / "config.json").write_text("{}")
    refused(tmp_path / "work", "jaxir export")
