"""DistilBERT: BERT without token types, under other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.families import fields
from jaxir.models.pretrained.names import Table, Tensor, embedding, linear, norm

MODEL_TYPES = ("distilbert",)
ARCHITECTURE, MASKED = "DistilBertModel", "DistilBertForMaskedLM"
CLASSIFIER = "DistilBertForSequenceClassification"
PREFIXES = ("distilbert.",)
UNUSED = (r"position_ids$",)
RENAMES = ()
TIED = (r"^vocab_projector\.weight$",)


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields. The norms' eps is fixed at 1e-12 in this family."""
    return dict(
        vocab_size=hf["vocab_size"],
        layers=hf["n_layers"],
        dim=hf["dim"],
        heads=hf["n_heads"],
        ff_dim=hf["hidden_dim"],
        positions="learned",
        max_positions=hf.get("max_position_embeddings", 512),
        norm_position="post",
        eps=1e-12,
        activation=fields.activation(hf.get("activation", "gelu")),
        bias=True,
        dropout=hf.get("dropout", 0.1),
    )


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk."""
    return dict(
        model_type="distilbert",
        vocab_size=c.vocab_size,
        n_layers=c.layers,
        dim=c.dim,
        n_heads=c.heads,
        hidden_dim=c.ff_size,
        max_position_embeddings=c.max_positions,
        activation=fields.published(c.activation),
        dropout=c.dropout,
        attention_dropout=0.0,  # the trunk has none
    )


def names(c: TransformerConfig) -> Table:
    """The trunk's tensors."""
    table = {
        **embedding("token_embedding", "embeddings.word_embeddings"),
        **embedding("position_embedding", "embeddings.position_embeddings"),
        **norm("embedding_norm", "embeddings.LayerNorm", bias=True),
    }
    for i in range(c.layers):
        ours, theirs = f"layers_{i}", f"transformer.layer.{i}"
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out")):
            table |= linear(f"{ours}/attention/{part}", f"{theirs}.attention.{letter}_lin", bias=True)
        table |= norm(f"{ours}/attention_norm", f"{theirs}.sa_layer_norm", bias=True)
        table |= linear(f"{ours}/ffn/up", f"{theirs}.ffn.lin1", bias=True)
        table |= linear(f"{ours}/ffn/down", f"{theirs}.ffn.lin2", bias=True)
        table |= norm(f"{ours}/ffn_norm", f"{theirs}.output_layer_norm", bias=True)
    return table


def mlm(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head over the vocabulary."""
    return dict(activation=fields.activation(hf.get("activation", "gelu")), **fields.untied(hf))


def mlm_names(c: TransformerConfig) -> Table:
    """The head's tensors."""
    return {
        **linear("transform", "vocab_transform", bias=True),
        **norm("norm", "vocab_layer_norm", bias=True),
        "bias": Tensor("vocab_projector.bias"),
        "decoder/kernel": Tensor("vocab_projector.weight", transpose=True),
    }


def classifier(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a cross-encoder's head."""
    return dict(pooling="cls", pooler="relu", head_dropout=hf.get("seq_classif_dropout", 0.2))


def classifier_names(c: TransformerConfig) -> Table:
    """The head's tensors."""
    return {**linear("pooler", "pre_classifier", bias=True), **linear("head", "classifier", bias=True)}
