"""BERT: norms after each part, learned positions, two token types, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.checks import InputError
from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.families import fields
from jaxir.models.pretrained.names import Table, Tensor, embedding, linear, norm

MODEL_TYPES = ("bert",)
ARCHITECTURE, MASKED = "BertModel", "BertForMaskedLM"
CLASSIFIER = "BertForSequenceClassification"
PREFIXES = ("bert.",)
UNUSED = (r"(^|\.)pooler\.", r"position_ids$", r"^cls\.seq_relationship\.")


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields; BERT's and those of its relatives that have the same tensors."""
    if hf.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"config.json has position_embedding_type {hf['position_embedding_type']!r}; only 'absolute' "
            "is known for this family"
        )
    return dict(
        vocab_size=hf["vocab_size"],
        layers=hf["num_hidden_layers"],
        dim=hf["hidden_size"],
        heads=hf["num_attention_heads"],
        ff_dim=hf["intermediate_size"],
        positions="learned",
        max_positions=hf.get("max_position_embeddings", 512),
        token_types=hf.get("type_vocab_size", 2),
        norm_position="post",
        eps=hf.get("layer_norm_eps", 1e-12),
        activation=fields.activation(hf.get("hidden_act", "gelu")),
        bias=True,
        dropout=hf.get("hidden_dropout_prob", 0.1),
        causal=bool(hf.get("is_decoder", False)),
    )


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk."""
    return common_settings(c) | dict(model_type="bert") if c.token_types else None


def common_settings(c: TransformerConfig) -> dict[str, Any]:
    """What BERT's and its relatives' config.json share."""
    return dict(
        vocab_size=c.vocab_size,
        num_hidden_layers=c.layers,
        hidden_size=c.dim,
        num_attention_heads=c.heads,
        intermediate_size=c.ff_size,
        max_position_embeddings=c.max_positions,
        type_vocab_size=c.token_types,
        layer_norm_eps=c.eps,
        hidden_act=fields.published(c.activation),
        hidden_dropout_prob=c.dropout,
        attention_probs_dropout_prob=0.0,  # the trunk has none
    )


def names(c: TransformerConfig) -> Table:
    """The trunk's tensors."""
    table = {
        **embedding("token_embedding", "embeddings.word_embeddings"),
        **embedding("position_embedding", "embeddings.position_embeddings"),
        **norm("embedding_norm", "embeddings.LayerNorm", bias=True),
    }
    if c.token_types:
        table |= embedding("type_embedding", "embeddings.token_type_embeddings")
    for i in range(c.layers):
        ours, theirs = f"layers_{i}", f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            table |= linear(f"{ours}/attention/{part}", f"{theirs}.attention.self.{part}", bias=True)
        table |= linear(f"{ours}/attention/out", f"{theirs}.attention.output.dense", bias=True)
        table |= norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm", bias=True)
        table |= linear(f"{ours}/ffn/up", f"{theirs}.intermediate.dense", bias=True)
        table |= linear(f"{ours}/ffn/down", f"{theirs}.output.dense", bias=True)
        table |= norm(f"{ours}/ffn_norm", f"{theirs}.output.LayerNorm", bias=True)
    return table


def mlm(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head over the vocabulary."""
    return dict(activation=fields.activation(hf.get("hidden_act", "gelu")), **fields.untied(hf))


def mlm_names(c: TransformerConfig) -> Table:
    """The head's tensors; the decoder's matrix is nearly always the token embedding."""
    return {
        **linear("transform", "cls.predictions.transform.dense", bias=True),
        **norm("norm", "cls.predictions.transform.LayerNorm", bias=True),
        "bias": Tensor("cls.predictions.bias"),
        "decoder/kernel": Tensor("cls.predictions.decoder.weight", transpose=True),
    }


def classifier(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a cross-encoder's head."""
    return dict(pooling="cls", pooler="tanh", **fields.head_dropout(hf))


def classifier_names(c: TransformerConfig) -> Table:
    """The head's tensors."""
    return {**linear("pooler", "pooler.dense", bias=True), **linear("head", "classifier", bias=True)}


# Names that mean the same: of files from before 2019, and of tied matrices stored twice.
RENAMES = (
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
    (r"^cls\.predictions\.decoder\.bias$", "cls.predictions.bias"),
)
TIED = (r"^cls\.predictions\.decoder\.weight$",)
