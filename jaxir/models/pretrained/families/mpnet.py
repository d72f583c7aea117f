"""MPNet: BERT without token types, with a relative position bias beside the learned positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.families import fields, roberta
from jaxir.models.pretrained.names import Table, Tensor, embedding, linear, norm

MODEL_TYPES = ("mpnet",)
ARCHITECTURE, MASKED = "MPNetModel", "MPNetForMaskedLM"
CLASSIFIER = "MPNetForSequenceClassification"
PREFIXES = ("mpnet.",)
UNUSED = (r"(^|\.)pooler\.", r"position_ids$")
RENAMES, TIED = roberta.RENAMES, roberta.TIED


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields. The farthest distance, 128, is fixed in this family."""
    return roberta.trunk(hf) | dict(
        token_types=0,
        relative_buckets=hf.get("relative_attention_num_buckets", 32),
        relative_distance=128,
    )


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk; transformers computes with 32 buckets whatever the file says."""
    if c.relative_buckets != 32:
        return None
    hf = roberta.common_settings(c) | dict(
        model_type="mpnet", relative_attention_num_buckets=c.relative_buckets
    )
    del hf["type_vocab_size"]
    return hf


def names(c: TransformerConfig) -> Table:
    """The trunk's tensors."""
    table = {
        **embedding("token_embedding", "embeddings.word_embeddings"),
        **embedding("position_embedding", "embeddings.position_embeddings"),
        **norm("embedding_norm", "embeddings.LayerNorm", bias=True),
        "relative_bias": Tensor("encoder.relative_attention_bias.weight"),
    }
    for i in range(c.layers):
        ours, theirs = f"layers_{i}", f"encoder.layer.{i}"
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
            table |= linear(f"{ours}/attention/{part}", f"{theirs}.attention.attn.{letter}", bias=True)
        table |= norm(f"{ours}/attention_norm", f"{theirs}.attention.LayerNorm", bias=True)
        table |= linear(f"{ours}/ffn/up", f"{theirs}.intermediate.dense", bias=True)
        table |= linear(f"{ours}/ffn/down", f"{theirs}.output.dense", bias=True)
        table |= norm(f"{ours}/ffn_norm", f"{theirs}.output.LayerNorm", bias=True)
    return table


def mlm(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head over the vocabulary, whose activation is fixed."""
    return dict(activation="gelu", **fields.untied(hf))


mlm_names = roberta.mlm_names
classifier, classifier_names = roberta.classifier, roberta.classifier_names
