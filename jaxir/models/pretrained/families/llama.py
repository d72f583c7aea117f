"""Llama and its relatives Mistral (sliding window), Qwen2 (biases), Qwen3 (norms on queries and keys)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.families import fields
from jaxir.models.pretrained.names import Table, Tensor, embedding, linear, norm

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
PREFIXES = ("model.",)
UNUSED = (r"rotary_emb\.inv_freq$",)
RENAMES = ()
TIED = ()


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields. A window of w sees w tokens, its own included: a distance of w - 1."""
    kind = hf["model_type"]
    window = hf.get("sliding_window") or 0
    if kind in ("qwen2", "qwen3") and not hf.get("use_sliding_window", False):
        window = 0
    windows = fields.windows(hf, window - 1) if window else (0,)
    if windows is None:
        windows = (window - 1,)
        if kind in ("qwen2", "qwen3"):
            first = hf.get("max_window_layers", 28)
            layers = range(hf["num_hidden_layers"])
            windows = fields.shortest([window - 1 if i >= first else 0 for i in layers])
    rope = fields.rope(hf)
    return dict(
        vocab_size=hf["vocab_size"],
        layers=hf["num_hidden_layers"],
        dim=hf["hidden_size"],
        heads=hf["num_attention_heads"],
        kv_heads=hf.get("num_key_value_heads"),
        head_dim=hf.get("head_dim"),
        ff_dim=hf["intermediate_size"],
        rotary_theta=rope.get("rope_theta", 10_000.0),
        rotary_scaling=fields.scaling(rope),
        windows=windows,
        causal=True,
        norm="rmsnorm",
        eps=hf.get("rms_norm_eps", 1e-6),
        embedding_norm=False,
        qk_norm=kind == "qwen3",
        activation=fields.activation(hf.get("hidden_act", "silu"), gated=True),
        bias=bool(hf.get("attention_bias", False)),
        qkv_bias=True if kind == "qwen2" else None,
        ff_bias=bool(hf.get("mlp_bias", False)),
    )


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk, of the plainest of the four architectures that has what it needs."""
    windows = [c.window(i) for i in range(c.layers)]
    kind = "llama"
    if c.qk_norm:
        kind = "qwen3"
    elif c.qkv_bias and not c.bias:
        kind = "qwen2"
    elif all(windows):
        kind = "mistral"
    hf = common_settings(c) | dict(
        model_type=kind,
        max_position_embeddings=32_768,
        mlp_bias=bool(c.bias if c.ff_bias is None else c.ff_bias),
    )
    if kind == "mistral":
        hf["sliding_window"] = windows[0] + 1
    elif any(windows):
        hf |= dict(
            use_sliding_window=True,
            sliding_window=max(windows) + 1,
            layer_types=["sliding_attention" if w else "full_attention" for w in windows],
        )
    return hf


def common_settings(c: TransformerConfig) -> dict[str, Any]:
    """What config.json of these architectures and of Gemma's share."""
    return dict(
        vocab_size=c.vocab_size,
        num_hidden_layers=c.layers,
        hidden_size=c.dim,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_size,
        head_dim=c.head_size,
        intermediate_size=c.ff_size,
        rope_parameters=fields.published_rope(c),
        rms_norm_eps=c.eps,
        hidden_act=fields.published(c.activation),
        attention_bias=c.bias,
        tie_word_embeddings=True,  # an export holds the trunk alone
        use_cache=False,
    )


def architecture(hf: Mapping[str, Any]) -> str:
    """The class of transformers that reads such a file."""
    return {"llama": "LlamaModel", "mistral": "MistralModel", "qwen2": "Qwen2Model", "qwen3": "Qwen3Model"}[
        hf["model_type"]
    ]


def names(c: TransformerConfig) -> Table:
    """The trunk's tensors."""
    table = {
        **embedding("token_embedding", "embed_tokens"),
        **norm("final_norm", "norm", bias=False),
    }
    qkv_bias = bool(c.bias if c.qkv_bias is None else c.qkv_bias)
    ff_bias = bool(c.bias if c.ff_bias is None else c.ff_bias)
    for i in range(c.layers):
        ours, theirs = f"layers_{i}", f"layers.{i}"
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v")):
            name = f"{theirs}.self_attn.{letter}_proj"
            table |= linear(f"{ours}/attention/{part}", name, bias=qkv_bias)
        table |= linear(f"{ours}/attention/out", f"{theirs}.self_attn.o_proj", bias=c.bias)
        if c.qk_norm:
            table |= norm(f"{ours}/attention/query_norm", f"{theirs}.self_attn.q_norm", bias=False)
            table |= norm(f"{ours}/attention/key_norm", f"{theirs}.self_attn.k_norm", bias=False)
        for part in ("gate", "up", "down"):
            table |= linear(f"{ours}/ffn/{part}", f"{theirs}.mlp.{part}_proj", bias=ff_bias)
        table |= norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm", bias=False)
        table |= norm(f"{ours}/ffn_norm", f"{theirs}.post_attention_layernorm", bias=False)
    return table


def classifier(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a cross-encoder's head: one map of the last token's state."""
    return dict(pooling="last", pooler=None, head_bias=False, head_dropout=0.0)


def classifier_names(c: TransformerConfig) -> Table:
    """The head's tensor."""
    return linear("head", "score", bias=False)


def mlm(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head over the vocabulary: one matrix, its own or the token embedding."""
    return dict(transform=False, bias=False, tied=bool(hf.get("tie_word_embeddings", False)))


def mlm_names(c: TransformerConfig) -> Table:
    """The head's tensors where it has its own."""
    return {"decoder/kernel": Tensor("lm_head.weight", transpose=True)}
