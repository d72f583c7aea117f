"""RoBERTa and XLM-RoBERTa: BERT with two unused rows before the first position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.families import bert, fields
from jaxir.models.pretrained.names import Table, Tensor, linear, norm

MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
ARCHITECTURE, MASKED = "RobertaModel", "RobertaForMaskedLM"
CLASSIFIER = "RobertaForSequenceClassification"
PREFIXES = ("roberta.",)
UNUSED = (r"(^|\.)pooler\.", r"position_ids$")
RENAMES = ((r"^lm_head\.decoder\.bias$", "lm_head.bias"),)
TIED = (r"^lm_head\.decoder\.weight$",)


def trunk(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The trunk's fields: positions are counted from the padding token's id + 1."""
    before = hf.get("pad_token_id", 1) + 1
    return bert.trunk(hf) | dict(
        max_positions=hf.get("max_position_embeddings", 514) - before, position_offset=before
    )


def settings(c: TransformerConfig) -> dict[str, Any] | None:
    """config.json of such a trunk."""
    return common_settings(c) | dict(model_type="roberta") if c.token_types else None


def common_settings(c: TransformerConfig) -> dict[str, Any]:
    """The part that MPNet shares."""
    return bert.common_settings(c) | dict(
        max_position_embeddings=c.max_positions + c.position_offset,
        pad_token_id=c.position_offset - 1,
        bos_token_id=0,
        eos_token_id=2,
    )


names = bert.names


def mlm(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head over the vocabulary."""
    return dict(activation=fields.activation(hf.get("hidden_act", "gelu")), **fields.untied(hf))


def mlm_names(c: TransformerConfig) -> Table:
    """The head's tensors."""
    return {
        **linear("transform", "lm_head.dense", bias=True),
        **norm("norm", "lm_head.layer_norm", bias=True),
        "bias": Tensor("lm_head.bias"),
        "decoder/kernel": Tensor("lm_head.decoder.weight", transpose=True),
    }


classifier = bert.classifier


def classifier_names(c: TransformerConfig) -> Table:
    """The tensors of a cross-encoder's head."""
    return {
        **linear("pooler", "classifier.dense", bias=True),
        **linear("head", "classifier.out_proj", bias=True),
    }
