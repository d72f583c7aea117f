import json

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.config import build
from jaxir.models import pretrained
from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained import families
from jaxir.trees import named
from tests.models.pretrained import folders


@pytest.mark.parametrize("name", folders.TRUNKS)
def test_round_trip_is_bitwise(name, tmp_path):
    spec, params = folders.write(tmp_path / "model", folders.TRUNKS[name], pooling="cls")
    found = pretrained.read(tmp_path / "model")
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    kind = json.loads((tmp_path / "model" / "config.json").read_text())["model_type"]
    assert kind.replace("_text", "") == name.partition("-")[0]
    want, got = build(spec), build(found.spec)
    assert (want.dim, want.normalized) == (got.dim, got.normalized)
    assert found.spec["pooling"] == "cls"


@pytest.mark.parametrize("name", folders.TRUNKS)
def test_the_table_names_every_parameter_once(name):
    config = folders.TRUNKS[name]
    family, _ = families.that_can_say(config)
    shapes = jax.eval_shape(build(folders.spec_of(config)).init, jax.random.key(0))["trunk"]
    table = family.names(config)
    assert set(table) == set(named(shapes))
    assert len({(t.name, t.part) for t in table.values()}) == len(table)


# What published files say, in the words of the transformers versions that wrote them (before 5), and the
# fields that decide what is computed.
PUBLISHED = {
    "all-mpnet-base": (
        dict(
            model_type="mpnet", vocab_size=30527, hidden_size=768, num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=3072, max_position_embeddings=514, layer_norm_eps=1e-05, hidden_act="gelu",
            relative_attention_num_buckets=32, pad_token_id=1,
        ),
        dict(max_positions=512, position_offset=2, relative_buckets=32, eps=1e-5, token_types=0),
    ),
    "modernbert": (
        dict(
            model_type="modernbert", vocab_size=50368, hidden_size=768, num_hidden_layers=22,
            num_attention_heads=12, intermediate_size=1152, global_attn_every_n_layers=3, local_attention=128,
            global_rope_theta=160000.0, local_rope_theta=10000.0, norm_eps=1e-05, hidden_activation="gelu",
        ),
        dict(windows=(0, 64, 64), rotary_theta=160000.0, rotary_theta_local=10000.0, activation="geglu"),
    ),
    "sentence-t5": (
        dict(
            model_type="t5", vocab_size=32128, d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12,
            relative_attention_num_buckets=32, feed_forward_proj="relu",
        ),
        dict(attention_scale=1.0, activation="relu", relative_distance=128, positions="none"),
    ),
    "mt5": (
        dict(
            model_type="mt5", vocab_size=250112, d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_heads=6,
            relative_attention_num_buckets=32, feed_forward_proj="gated-gelu",
        ),
        dict(activation="geglu_tanh", head_dim=64),
    ),
    "llama-3.1": (
        dict(
            model_type="llama", vocab_size=128256, hidden_size=4096, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336, rope_theta=500000.0,
            rms_norm_eps=1e-05, hidden_act="silu",
            rope_scaling=dict(
                factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_type="llama3",
                original_max_position_embeddings=8192,
            ),
        ),
        dict(
            rotary_theta=500000.0, kv_heads=8, causal=True, activation="swiglu",
            rotary_scaling=dict(
                factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_type="llama3",
                original_max_position_embeddings=8192,
            ),
        ),
    ),
    "e5-mistral": (
        dict(
            model_type="mistral", vocab_size=32000, hidden_size=4096, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336, rope_theta=10000.0,
            sliding_window=4096, rms_norm_eps=1e-05,
        ),
        dict(windows=(4095,), qkv_bias=None, bias=False),
    ),
    "gte-qwen2": (
        dict(
            model_type="qwen2", vocab_size=151646, hidden_size=1536, num_hidden_layers=28,
            num_attention_heads=12, num_key_value_heads=2, intermediate_size=8960, rope_theta=1000000.0,
            use_sliding_window=False, sliding_window=131072, max_window_layers=21,
        ),
        dict(windows=(0,), qkv_bias=True, bias=False, ff_bias=False, rotary_theta=1000000.0),
    ),
    "gemma-2": (
        dict(
            model_type="gemma2", vocab_size=256000, hidden_size=2304, num_hidden_layers=26,
            num_attention_heads=8, num_key_value_heads=4, head_dim=256, intermediate_size=9216,
            sliding_window=4096, query_pre_attn_scalar=256, attn_logit_softcapping=50.0,
            hidden_activation="gelu_pytorch_tanh", rope_theta=10000.0,
        ),
        dict(windows=(4095, 0), attention_softcap=50.0, embedding_scale=48.0, norm_position="both"),
    ),
    "embeddinggemma": (
        dict(
            model_type="gemma3_text", vocab_size=262144, hidden_size=768, num_hidden_layers=24,
            num_attention_heads=3, num_key_value_heads=1, head_dim=256, intermediate_size=1152,
            sliding_window=512, _sliding_window_pattern=6, query_pre_attn_scalar=256, rope_theta=1000000.0,
            rope_local_base_freq=10000.0, use_bidirectional_attention=True,
        ),
        dict(
            windows=(256, 256, 256, 256, 256, 0), causal=False, qk_norm=True, rotary_theta=1000000.0,
            rotary_theta_local=10000.0,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(name):
    hf, expected = PUBLISHED[name]
    family, hf = families.of_config(hf)
    trunk = family.trunk(hf)
    TransformerConfig(**trunk)
    assert {field: trunk[field] for field in expected} == expected


def test_the_text_part_of_a_model_of_text_and_images():
    family, hf = families.of_config({"model_type": "gemma3", "text_config": PUBLISHED["embeddinggemma"][0]})
    assert family.__name__.endswith("gemma")
    assert hf["hidden_size"] == 768


@pytest.mark.parametrize("hf", [{"model_type": "qwen"}, {}, {"model_type": "deberta-v2"}])
def test_an_unknown_architecture_says_which_are_known(hf):
    with pytest.raises(InputError, match=r"bert, distilbert.*modernbert.*gemma3_text"):
        families.of_config(hf)


@pytest.mark.parametrize(
    "config",
    [
        folders.change(folders.LLAMA, causal=False),
        folders.change(folders.MODERN, first_norm=True),
        folders.change(folders.BERT, relative_buckets=8, relative_distance=16),
    ],
)
def test_a_trunk_that_nobody_published_is_refused_with_the_way_out(config, tmp_path):
    spec = folders.spec_of(config)
    with pytest.raises(InputError, match="--to=jaxir"):
        pretrained.export(tmp_path / "m", spec, folders.random_params(spec), folders.tiny_tokenizer())
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("hf", "says"),
    [
        (dict(PUBLISHED["llama-3.1"][0], hidden_act="tanh"), "tanh"),
        (dict(PUBLISHED["gemma-2"][0], layer_types=["recurrent"]), "recurrent"),
        (dict(model_type="bert", position_embedding_type="relative_key"), "relative_key"),
    ],
)
def test_what_the_trunk_cannot_do_is_named(hf, says):
    family, hf = families.of_config(hf)
    with pytest.raises(InputError, match=says):
        family.trunk(hf)
