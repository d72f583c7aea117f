"""ModernBERT: rotary positions, local and global layers, gated feed-forward, no biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.families import fields
from jaxir.models.pretrained.names import Table, Tensor, embedding, fused, linear, norm

MODEL_TYPES = ("modernbert",)
ARCHITECTURE, MASKED = "ModernBertModel", "ModernBertForMaskedLM"
CLASSIFIER = "ModernBertForSequenceClassification"
PREFIXES = ("model.",)
UNUSED = ()
RENAMES = ()
TIED = (r"^decoder\.weight$",)


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields. ``local_attention`` is the whole window, half of it to each side."""
    distance = hf.get("local_attention", 128) // 2
    every = hf.get("global_attn_every_n_layers", 3)
    pattern = fields.windows(hf, distance)
    if pattern is None:
        pattern = (0, *[distance] * (every - 1))
    if "rope_parameters" in hf:
        theta = fields.rope(hf)["rope_theta"]
        local = fields.rope(hf, "sliding_attention")["rope_theta"]
    else:
        theta = hf.get("global_rope_theta", 160_000.0)
        local = hf.get("local_rope_theta") or theta
    return dict(
        vocab_size=hf["vocab_size"],
        layers=hf["num_hidden_layers"],
        dim=hf["hidden_size"],
        heads=hf["num_attention_heads"],
        ff_dim=hf["intermediate_size"],
        rotary_theta=theta,
        rotary_theta_local=local,
        windows=pattern,
        first_norm=False,
        eps=hf.get("norm_eps", 1e-5),
        activation=fields.activation(hf.get("hidden_activation", "gelu"), gated=True),
        bias=bool(hf.get("attention_bias", False)),
        ff_bias=bool(hf.get("mlp_bias", False)),
        norm_bias=bool(hf.get("norm_bias", False)),
        dropout=hf.get("mlp_dropout", 0.0),
    )


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk."""
    local = [c.window(i) for i in range(c.layers)]
    return dict(
        model_type="modernbert",
        vocab_size=c.vocab_size,
        num_hidden_layers=c.layers,
        hidden_size=c.dim,
        num_attention_heads=c.heads,
        intermediate_size=c.ff_size,
        max_position_embeddings=8192,
        local_attention=2 * max(local) or 128,
        layer_types=["sliding_attention" if w else "full_attention" for w in local],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": c.rotary_theta},
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": c.rotary_theta_local or c.rotary_theta,
            },
        },
        norm_eps=c.eps,
        hidden_activation=fields.published(c.activation),
        attention_bias=c.bias,
        mlp_bias=bool(c.bias if c.ff_bias is None else c.ff_bias),
        norm_bias=bool(c.bias if c.norm_bias is None else c.norm_bias),
        embedding_dropout=c.dropout,
        mlp_dropout=c.dropout,
        attention_dropout=0.0,
    )


def names(c: TransformerConfig) -> Table:
    """The trunk's tensors."""
    biased = bool(c.bias if c.norm_bias is None else c.norm_bias)
    ff_bias = bool(c.bias if c.ff_bias is None else c.ff_bias)
    table = {
        **embedding("token_embedding", "embeddings.tok_embeddings"),
        **norm("embedding_norm", "embeddings.norm", bias=biased),
        **norm("final_norm", "final_norm", bias=biased),
    }
    for i in range(c.layers):
        ours, theirs = f"layers_{i}", f"layers.{i}"
        maps = [f"{ours}/attention/{part}" for part in ("query", "key", "value")]
        table |= fused(maps, f"{theirs}.attn.Wqkv", bias=c.bias)
        table |= linear(f"{ours}/attention/out", f"{theirs}.attn.Wo", bias=c.bias)
        table |= fused([f"{ours}/ffn/gate", f"{ours}/ffn/up"], f"{theirs}.mlp.Wi", bias=ff_bias)
        table |= linear(f"{ours}/ffn/down", f"{theirs}.mlp.Wo", bias=ff_bias)
        table |= norm(f"{ours}/ffn_norm", f"{theirs}.mlp_norm", bias=biased)
        if i:
            table |= norm(f"{ours}/attention_norm", f"{theirs}.attn_norm", bias=biased)
    return table


def mlm(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head over the vocabulary."""
    return dict(activation=fields.activation(hf.get("classifier_activation", "gelu")), **fields.untied(hf))


def mlm_names(c: TransformerConfig) -> Table:
    """The head's tensors."""
    biased = bool(c.bias if c.norm_bias is None else c.norm_bias)
    return {
        **linear("transform", "head.dense", bias=False),
        **norm("norm", "head.norm", bias=biased),
        "bias": Tensor("decoder.bias"),
        "decoder/kernel": Tensor("decoder.weight", transpose=True),
    }


def classifier(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a cross-encoder's head."""
    return dict(
        pooling=hf.get("classifier_pooling", "cls"),
        pooler=fields.activation(hf.get("classifier_activation", "gelu")),
        pooler_bias=bool(hf.get("classifier_bias", False)),
        pooler_norm=True,
        head_dropout=hf.get("classifier_dropout") or 0.0,
    )


def classifier_settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of such a head."""
    return dict(
        classifier_pooling=spec.get("pooling", "cls"),
        classifier_activation=fields.published(spec.get("pooler") or "gelu"),
        classifier_bias=spec.get("pooler_bias", True),
    )


def classifier_names(c: TransformerConfig) -> Table:
    """The head's tensors; what it has depends on ``pooler_bias``, so that all are named."""
    biased = bool(c.bias if c.norm_bias is None else c.norm_bias)
    return {
        **linear("pooler", "head.dense", bias=True),
        **norm("pooler_norm", "head.norm", bias=biased),
        **linear("head", "classifier", bias=True),
    }
