"""Small model folders, written without torch: one trunk per architecture, with random weights."""

import dataclasses

import jax
import numpy as np

from jaxir.config import build
from jaxir.data import tokenizer as tokenizers
from jaxir.models import pretrained
from jaxir.models.config import TransformerConfig

TEXTS = ["the quick brown fox jumps over the lazy dog", "a ship sails on the sea", "ten red apples"] * 4

BERT = TransformerConfig(
    vocab_size=80,
    layers=2,
    dim=16,
    heads=2,
    ff_dim=24,
    positions="learned",
    max_positions=20,
    token_types=2,
    norm_position="post",
    activation="gelu",
    bias=True,
    eps=1e-12,
)
LLAMA = TransformerConfig(
    vocab_size=80,
    layers=2,
    dim=16,
    heads=4,
    kv_heads=2,
    head_dim=6,
    ff_dim=24,
    causal=True,
    norm="rmsnorm",
    activation="swiglu",
    embedding_norm=False,
    eps=1e-5,
    rotary_scaling=dict(
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=16,
    ),
)
MODERN = TransformerConfig(
    vocab_size=80,
    layers=4,
    dim=16,
    heads=2,
    ff_dim=24,
    windows=(0, 4, 4),
    rotary_theta=160_000.0,
    rotary_theta_local=10_000.0,
    first_norm=False,
    eps=1e-5,
)
T5 = TransformerConfig(
    vocab_size=80,
    layers=2,
    dim=16,
    heads=2,
    head_dim=6,
    ff_dim=24,
    positions="none",
    relative_buckets=8,
    relative_distance=16,
    norm="rmsnorm",
    embedding_norm=False,
    attention_scale=1.0,
    activation="relu",
)
change = dataclasses.replace
PLAIN = change(LLAMA, rotary_scaling=None)
GEMMA = change(PLAIN, activation="geglu_tanh", norm_offset=1.0, embedding_scale=4.0)
TRUNKS = {
    "bert": BERT,
    "distilbert": change(BERT, token_types=0),
    "roberta": change(BERT, token_types=1, position_offset=2, eps=1e-5),
    "mpnet": change(BERT, token_types=0, position_offset=2, relative_buckets=32, relative_distance=128),
    "modernbert": MODERN,
    "modernbert-biased": change(MODERN, bias=True, ff_bias=False, norm_bias=True),
    "t5": T5,
    "t5-gated": change(T5, activation="geglu_tanh"),
    "llama": LLAMA,
    "llama-biased": change(PLAIN, bias=True, ff_bias=False),
    "mistral": change(PLAIN, windows=(3,)),
    "qwen2": change(PLAIN, qkv_bias=True, windows=(0, 3)),
    "qwen3": change(PLAIN, qk_norm=True),
    "gemma": GEMMA,
    "gemma2": change(
        GEMMA, norm_position="both", windows=(3, 0), attention_scale=0.25, attention_softcap=50.0
    ),
    "gemma3": change(
        GEMMA,
        norm_position="both",
        windows=(3, 0),
        attention_scale=0.25,
        qk_norm=True,
        rotary_theta=1e6,
        rotary_theta_local=1e4,
    ),
    "gemma3-bidirectional": change(
        GEMMA,
        norm_position="both",
        windows=(4, 0),
        attention_scale=0.25,
        qk_norm=True,
        causal=False,
        rotary_theta=1e6,
        rotary_theta_local=1e4,
    ),
}


def tiny_tokenizer():
    return tokenizers.train(TEXTS, vocab_size=60)


def spec_of(config, **head):
    return {"fn": "jaxir.models.encoder:transformer", **dataclasses.asdict(config), **head}


def random_params(spec):
    """Parameters in which no two numbers are alike, so that a swapped tensor shows."""
    shapes = jax.eval_shape(build(spec).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jax.numpy.asarray(rng.normal(size=x.shape) * 0.2, np.float32), shapes)


def write(folder, config=BERT, **head):
    """A sentence-transformers folder; returns what was written."""
    spec = spec_of(config, **head)
    params = random_params(spec)
    pretrained.export(folder, spec, params, tiny_tokenizer(), max_length=16)
    return spec, params
