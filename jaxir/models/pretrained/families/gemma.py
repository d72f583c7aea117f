"""Gemma 1, 2 and 3 (the text part): scaled embeddings, norms whose scale is 1 + weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.families import fields, llama
from jaxir.models.pretrained.names import Table, norm

MODEL_TYPES = ("gemma", "gemma2", "gemma3_text")
PREFIXES = ("language_model.model.", "model.language_model.", "model.")
UNUSED = (*llama.UNUSED, r"vision_tower\.", r"multi_modal_projector\.")
RENAMES = ((r"^language_model\.lm_head\.", "lm_head."),)
TIED = (r"^lm_head\.weight$",)  # always the token embedding


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields. Where attention is bidirectional, half of a window lies to each side."""
    kind = hf["model_type"]
    both = bool(hf.get("use_bidirectional_attention", False))
    rope = fields.rope(hf)
    out = dict(
        vocab_size=hf["vocab_size"],
        layers=hf["num_hidden_layers"],
        dim=hf["hidden_size"],
        heads=hf["num_attention_heads"],
        kv_heads=hf.get("num_key_value_heads"),
        head_dim=hf.get("head_dim", 256),
        ff_dim=hf["intermediate_size"],
        rotary_theta=rope.get("rope_theta", 10_000.0),
        rotary_scaling=fields.scaling(rope),
        causal=not both,
        norm="rmsnorm",
        norm_offset=1.0,
        eps=hf.get("rms_norm_eps", 1e-6),
        embedding_norm=False,
        embedding_scale=hf["hidden_size"] ** 0.5,
        activation=fields.activation(_hidden_act(hf), gated=True),
        bias=bool(hf.get("attention_bias", False)),
        ff_bias=False,
    )
    if kind == "gemma":
        return out
    window = hf.get("sliding_window") or 4096
    distance = window // 2 if both else window - 1
    pattern = fields.windows(hf, distance)
    if pattern is None:
        every = hf.get("sliding_window_pattern", hf.get("_sliding_window_pattern", 6))
        pattern = (distance, 0) if kind == "gemma2" else (*[distance] * (every - 1), 0)
    out |= dict(
        windows=pattern,
        norm_position="both",
        attention_scale=hf.get("query_pre_attn_scalar", 256) ** -0.5,
        attention_softcap=hf.get("attn_logit_softcapping"),
    )
    if kind == "gemma3_text":
        local = fields.rope(hf, "sliding_attention").get("rope_theta") if "rope_parameters" in hf else None
        out |= dict(qk_norm=True, rotary_theta_local=local or hf.get("rope_local_base_freq", 10_000.0))
        out["rotary_theta"] = rope.get("rope_theta", 1_000_000.0)
    return out


def _hidden_act(hf: Mapping[str, Any]) -> str:
    """Gemma 1's first files say "gelu" and mean the approximation."""
    name = hf.get("hidden_activation") or hf.get("hidden_act") or "gelu_pytorch_tanh"
    return "gelu_pytorch_tanh" if name == "gelu" and hf["model_type"] == "gemma" else name


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk."""
    if c.norm_offset != 1.0 or c.norm != "rmsnorm":
        return None
    kind = "gemma3_text" if c.qk_norm else "gemma2" if c.norm_position == "both" else "gemma"
    local = [c.window(i) for i in range(c.layers)]
    farthest = max(local)
    hf = llama.common_settings(c) | dict(
        model_type=kind,
        max_position_embeddings=8192,
        hidden_activation=fields.published(c.activation),
        use_bidirectional_attention=not c.causal,
    )
    if kind == "gemma3_text":
        plain = {"rope_type": "default", "rope_theta": c.rotary_theta_local or c.rotary_theta}
        hf["rope_parameters"] = {"full_attention": hf["rope_parameters"], "sliding_attention": plain}
    if kind != "gemma":
        hf |= dict(
            layer_types=["sliding_attention" if w else "full_attention" for w in local],
            sliding_window=(farthest + 1 if c.causal else 2 * farthest) or 4096,
            query_pre_attn_scalar=round((c.attention_scale or c.head_size**-0.5) ** -2),
            attn_logit_softcapping=c.attention_softcap,
            final_logit_softcapping=None,
        )
    return hf


def architecture(hf: Mapping[str, Any]) -> str:
    """The class of transformers that reads such a file."""
    return {"gemma": "GemmaModel", "gemma2": "Gemma2Model", "gemma3_text": "Gemma3TextModel"}[
        hf["model_type"]
    ]


def names(c: TransformerConfig) -> Table:
    """The trunk's tensors."""
    table = llama.names(c)
    if c.norm_position == "both":
        for i in range(c.layers):
            ours, theirs = f"layers_{i}", f"layers.{i}"
            table |= norm(f"{ours}/attention_post_norm", f"{theirs}.post_attention_layernorm", bias=False)
            table |= norm(f"{ours}/ffn_norm", f"{theirs}.pre_feedforward_layernorm", bias=False)
            table |= norm(f"{ours}/ffn_post_norm", f"{theirs}.post_feedforward_layernorm", bias=False)
    return table


def mlm(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head over the vocabulary: the token embedding, capped in Gemma 2."""
    return dict(transform=False, bias=False, softcap=hf.get("final_logit_softcapping"))


def mlm_names(c: TransformerConfig) -> Table:
    """The head has no tensors of its own."""
    return {}


classifier, classifier_names = llama.classifier, llama.classifier_names
