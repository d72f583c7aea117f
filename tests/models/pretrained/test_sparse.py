"""SparseEncoder folders written and read again, and sparse encoders made of backbones."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from jaxir.checks import InputError
from jaxir.config import build
from jaxir.models import pretrained
from tests.models.pretrained import folders

TOKENIZER = folders.tiny_tokenizer()
V = TOKENIZER.vocab_size
BERT = folders.change(folders.BERT, vocab_size=V)
TABLE = dict(query="table", special_ids=list(TOKENIZER.special_ids))


def spec_of(config=BERT, **arguments):
    trunk = {"trunk_activation" if k == "activation" else k: v for k, v in dataclasses.asdict(config).items()}
    return {"fn": "jaxir.models.sparse:splade", **trunk, **arguments}


def made(config=BERT, **arguments):
    spec = spec_of(config, **arguments)
    params = folders.random_params(spec)
    if "query_weights" in params:
        weights = np.abs(params["query_weights"])
        weights[list(TOKENIZER.special_ids)] = 0
        params["query_weights"] = weights
    return spec, params


def write(folder, config=BERT, **arguments):
    spec, params = made(config, **arguments)
    pretrained.export(folder, spec, params, TOKENIZER, max_length=16, prompts={"query": "q: "})
    return spec, params


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


SAID = {
    "plain": (BERT, dict(top_k=5)),
    "l0 documents": (folders.TRUNKS["modernbert"], dict(activation="l0", query_activation="log1p_relu")),
    "two towers, summed": (
        folders.TRUNKS["distilbert"],
        dict(towers="separate", pooling="sum", head=dict(tied=False)),
    ),
    "table": (BERT, dict(TABLE, activation="l0", top_k=dict(doc=20, query=None))),
    "bag": (BERT, dict(query="bag", special_ids=list(TOKENIZER.special_ids))),
}


@pytest.mark.parametrize("name", SAID)
def test_round_trip_is_bitwise(name, tmp_path):
    config, said = SAID[name]
    spec, params = write(tmp_path / "m", config, **said)
    found = pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    assert (found.prompts, found.max_length) == ({"query": "q: ", "doc": ""}, 16)
    defaults = dict(
        pooling="max", activation="log1p_relu", query="encoder", query_activation=None, towers="tied"
    )
    for field, default in defaults.items():
        assert found.spec.get(field, default) == spec.get(field, default), field


def test_own_format_holds_what_the_other_cannot_say(tmp_path):
    spec, params = made(**TABLE, blocked_ids=[7], keep_ratio=0.1, pooling="last")
    pretrained.export(tmp_path / "m", spec, params, TOKENIZER, to="jaxir")
    found = pretrained.read(tmp_path / "m")
    assert found.spec == {**json.loads(json.dumps(spec)), "dtype": "float32"}
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    changed = pretrained.read(tmp_path / "m", sparse=dict(query="bag", pooling="max"), layers=1)
    assert "query_weights" not in changed.params
    assert "layers_1" not in changed.params["trunk"]
    with pytest.raises(InputError, match="normalize is an argument of dense"):
        pretrained.read(tmp_path / "m", normalize=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(top_k=dict(query=3, doc=5)), "3 entries of queries and 5 of documents"),
        (dict(TABLE, top_k=4), "all entries of queries and 4 of documents"),
        (dict(blocked_ids=[7]), "blocked_ids"),
        (dict(keep_ratio=0.2), "keep_ratio"),
        (dict(echo=True), "echo"),
        (dict(special_positions=False), "special_positions"),
        (dict(pooling="last"), "pooling 'last'"),
        (dict(query_activation="relu"), "activation 'relu'"),
        (dict(head=dict(transform=False)), "transform=False"),
        (dict(TABLE, config=folders.BERT), "80 entries and the tokenizer"),
        (dict(config=folders.LLAMA, head=dict(transform=False)), "llama has no masked language model"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_what_a_sparseencoder_folder_cannot_say_is_named(arguments, says, tmp_path):
    with pytest.raises(InputError, match=f"{says}.*--to=jaxir"):
        write(tmp_path / "m", **arguments)
    assert not (tmp_path / "m").exists()


def test_one_of_two_towers(tmp_path):
    said = dict(towers="separate", query_activation="l0", top_k=dict(query=3, doc=5))
    spec, params = made(**said)
    pretrained.export(tmp_path / "m", spec, params, TOKENIZER, side="query")
    found = pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, found.params, params["query"])
    assert (found.spec["activation"], found.spec["top_k"]) == ("l0", 3)


# -- of backbones -----------------------------------------------------------------------------------------


def test_a_backbone_without_a_head_is_offered_its_embeddings(tmp_path):
    _, params = folders.write(tmp_path / "m", projection=4)
    with pytest.raises(InputError, match=r"no head over its vocabulary.*head=dict\(transform=False\)"):
        pretrained.read(tmp_path / "m", sparse=dict())
    sparse = dict(head=dict(transform=False), query="table", blocked_ids=("special",))
    found = pretrained.read(tmp_path / "m", sparse=sparse, layers=1)
    assert found.spec["blocked_ids"] == found.spec["special_ids"] == list(TOKENIZER.special_ids)
    assert set(found.params) == {"trunk", "mlm", "query_weights"}
    np.testing.assert_array_equal(found.params["mlm"]["bias"], np.zeros(80))
    jax.tree.map(
        np.testing.assert_array_equal, found.params["trunk"]["layers_0"], params["trunk"]["layers_0"]
    )
    assert build(found.spec).kind == "sparse"
    dense = folders.spec_of(folders.BERT, towers="separate")
    params = folders.random_params(dense)
    pretrained.export(tmp_path / "own", dense, params, TOKENIZER, to="jaxir")
    with pytest.raises(InputError, match="no head over its vocabulary"):
        pretrained.read(tmp_path / "own", sparse=dict())
    both = pretrained.read(tmp_path / "own", sparse=dict(head=dict(transform=False)))
    jax.tree.map(np.testing.assert_array_equal, both.params["doc"]["trunk"], params["doc"]["trunk"])


def test_a_masked_language_model_brings_its_head(tmp_path):
    """As the releases of SPLADE before SparseEncoder: no modules.json."""
    _, params = write(tmp_path / "m", head=dict(tied=False))
    for name in ("modules.json", "config_sentence_transformers.json"):
        (tmp_path / "m" / name).unlink()
    found = pretrained.read(tmp_path / "m", sparse=dict(activation="l0", query="bag"))
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    assert found.params["mlm"]["decoder"]["kernel"].shape == (16, V)
    assert found.spec["special_ids"] == list(TOKENIZER.special_ids)
    dense = pretrained.read(tmp_path / "m", mlm=True)
    pretrained.export(tmp_path / "d", dense.spec, dense.params, TOKENIZER, head=dense.head)
    jax.tree.map(
        np.testing.assert_array_equal, pretrained.read(tmp_path / "d", mlm=True).params["mlm"], params["mlm"]
    )
    with pytest.raises(InputError, match="pooling is an argument of dense"):
        pretrained.read(tmp_path / "m", sparse=dict(), pooling="max")
    with pytest.raises(InputError, match="Did you mean 'activation'"):
        pretrained.read(tmp_path / "m", sparse=dict(activatio="l0"))


# -- what others write --------------------------------------------------------------------------------------


def test_tables_of_query_weights(tmp_path):
    _, params = write(tmp_path / "m", **TABLE)
    table = tmp_path / "m" / "query_0_SparseStaticEmbedding"
    values = safetensors.numpy.load_file(table / "model.safetensors")["weight"]

    def stored(x):
        safetensors.numpy.save_file({"weight": x}, table / "model.safetensors")
        return tmp_path / "m"

    with pytest.raises(InputError, match="1 negative weights"):
        pretrained.read(stored(np.where(np.arange(V) == 7, -1, values).astype(np.float32)))
    with pytest.raises(InputError, match="do not belong together"):
        pretrained.read(stored(np.ones(V + 1, np.float32)))
    (table / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"neither model.safetensors nor idf.json"):
        pretrained.read(tmp_path / "m")
    tokens = {TOKENIZER.backend.id_to_token(i): float(x) for i, x in enumerate(values)}
    (table / "idf.json").write_text(json.dumps(tokens))
    np.testing.assert_allclose(
        pretrained.read(tmp_path / "m").params["query_weights"], params["query_weights"], rtol=1e-6
    )
    folders.tokenizers.train(["another text"] * 3, vocab_size=40).save(table / "tokenizer.json")
    with pytest.raises(InputError, match="different vocabularies"):
        pretrained.read(tmp_path / "m")


def test_settings_that_mean_something_else_here(tmp_path):
    _, params = write(tmp_path / "m", **TABLE)
    facts = tmp_path / "m" / "config_sentence_transformers.json"
    edit(facts, max_active_dims=4)
    with pytest.raises(InputError, match=r"keeps 4 entries.*sparse=dict\(top_k=\{'doc': 4\}\)"):
        pretrained.read(tmp_path / "m")
    found = pretrained.read(tmp_path / "m", sparse=dict(top_k={"doc": 4}, query="table"))
    assert found.spec["top_k"] == {"doc": 4}
    np.testing.assert_array_equal(found.params["query_weights"], params["query_weights"])
    edit(facts, similarity_fn_name="cosine")
    with pytest.raises(InputError, match="compares by cosine"):
        pretrained.read(tmp_path / "m")
    write(tmp_path / "two", towers="separate")
    edit(tmp_path / "two" / "query_0_MLMTransformer" / "config.json", num_hidden_layers=1)
    with pytest.raises(InputError, match="encoder of queries, has another shape"):
        pretrained.read(tmp_path / "two")
