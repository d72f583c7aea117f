"""The encoder of T5 and mT5: RMS norms, a relative position bias instead of positions, no scaling of q.k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.models.config import GATED, TransformerConfig
from jaxir.models.pretrained.families import fields
from jaxir.models.pretrained.names import Table, Tensor, embedding, linear, norm

MODEL_TYPES = ("t5", "mt5")
ARCHITECTURE = "T5EncoderModel"
PREFIXES = ()
UNUSED = (r"^decoder\.", r"^lm_head\.")
RENAMES = ((r"^encoder\.embed_tokens\.weight$", "shared.weight"),)
TIED = ()


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields. ``feed_forward_proj`` is "relu" (T5) or "gated-gelu" (T5 1.1, mT5)."""
    name = hf.get("feed_forward_proj", "relu")
    gated = name.startswith("gated-")
    kind = name.removeprefix("gated-")
    if name == "gated-gelu":  # stands for the approximation, as published
        kind = "gelu_new"
    return dict(
        vocab_size=hf["vocab_size"],
        layers=hf["num_layers"],
        dim=hf["d_model"],
        heads=hf["num_heads"],
        head_dim=hf["d_kv"],
        ff_dim=hf["d_ff"],
        positions="none",
        relative_buckets=hf.get("relative_attention_num_buckets", 32),
        relative_distance=hf.get("relative_attention_max_distance", 128),
        norm="rmsnorm",
        eps=hf.get("layer_norm_epsilon", 1e-6),
        embedding_norm=False,
        attention_scale=1.0,
        activation=fields.activation(kind, gated=gated),
        dropout=hf.get("dropout_rate", 0.1),
    )


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk."""
    gated = c.activation in GATED
    if gated and c.activation != "geglu_tanh":
        return None
    return dict(
        model_type="t5",
        vocab_size=c.vocab_size,
        num_layers=c.layers,
        d_model=c.dim,
        num_heads=c.heads,
        d_kv=c.head_size,
        d_ff=c.ff_size,
        relative_attention_num_buckets=c.relative_buckets,
        relative_attention_max_distance=c.relative_distance,
        layer_norm_epsilon=c.eps,
        feed_forward_proj="gated-gelu" if gated else c.activation,
        dropout_rate=c.dropout,
        is_encoder_decoder=False,
        use_cache=False,
    )


def names(c: TransformerConfig) -> Table:
    """The trunk's tensors."""
    table = {
        **embedding("token_embedding", "shared"),
        "relative_bias": Tensor("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
        **norm("final_norm", "encoder.final_layer_norm", bias=False),
    }
    gated = c.activation in GATED
    for i in range(c.layers):
        ours, attention, ffn = f"layers_{i}", f"encoder.block.{i}.layer.0", f"encoder.block.{i}.layer.1"
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
            table |= linear(f"{ours}/attention/{part}", f"{attention}.SelfAttention.{letter}", bias=False)
        table |= norm(f"{ours}/attention_norm", f"{attention}.layer_norm", bias=False)
        if gated:
            table |= linear(f"{ours}/ffn/gate", f"{ffn}.DenseReluDense.wi_0", bias=False)
        up = "wi_1" if gated else "wi"
        table |= linear(f"{ours}/ffn/up", f"{ffn}.DenseReluDense.{up}", bias=False)
        table |= linear(f"{ours}/ffn/down", f"{ffn}.DenseReluDense.wo", bias=False)
        table |= norm(f"{ours}/ffn_norm", f"{ffn}.layer_norm", bias=False)
    return table
