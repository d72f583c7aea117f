"""The files that dense and sparse exports share: the trunk with or without its head, tokenizer, modules."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from collections.abc import Mapping
from typing import Any

import jaxir
from jaxir.checks import InputError
from jaxir.files import write_json
from jaxir.models.config import TransformerConfig
from jaxir.models.cross_encoder import OWN, cross_encoder
from jaxir.models.mlm import MlmHead
from jaxir.models.pretrained import families, modules, weights
from jaxir.models.pretrained.names import Table, under

# What a tokenizer's special tokens are for, by how they are written.
ROLES = {
    "unk_token": ("[UNK]", "<unk>"),
    "pad_token": ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"),
    "cls_token": ("[CLS]", "<s>", "<bos>"),
    "sep_token": ("[SEP]", "</s>", "<eos>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def cannot(why: str) -> InputError:
    """What an encoder that the format does not know is answered with."""
    return InputError(f"sentence-transformers cannot say this encoder: {why}. Use --to=jaxir")


def write_trunk(
    folder: pathlib.Path,
    config: TransformerConfig,
    leaves: Mapping[str, Any],
    tokenizer: Any,
    max_length: int | None,
    *,
    head: Mapping[str, Any] | None = None,
    pairs: Mapping[str, Any] | None = None,
) -> None:
    """config.json, model.safetensors and the tokenizer of ``leaves`` ("trunk/...").

    With ``head``, arguments of MlmHead, also those of "mlm/...": a masked language model. With ``pairs``, the
    spec of a cross-encoder, all leaves: a model of sequence classification with one label.

    Raises:
      InputError: no published architecture has this trunk, or this head on it.
    """
    found = families.that_can_say(config)
    if found is None:
        raise cannot("no architecture known to transformers has its trunk" + _nearly(config))
    family, hf = found
    table = family.names(config)
    if pairs is not None:
        name, hf, table = _classifier(family, hf, config, table, pairs, leaves)
    elif head is None:
        name = family.ARCHITECTURE if hasattr(family, "ARCHITECTURE") else family.architecture(hf)
        table = under("trunk", table)
    else:
        name, hf = _masked(family, hf, head)
        outer = family.PREFIXES[0]
        of_trunk = {path: tensor._replace(name=outer + tensor.name) for path, tensor in table.items()}
        of_head = under("mlm", family.mlm_names(config))
        lost = sorted(path for path in leaves if path.startswith("mlm/") and path not in of_head)
        if lost:
            raise cannot(f"{name} has no place for {lost[0]}")
        table = under("trunk", of_trunk) | {path: t for path, t in of_head.items() if path in leaves}
    dtype = str(next(iter(leaves.values())).dtype)
    pad = {} if "pad_token_id" in hf else {"pad_token_id": tokenizer.pad_id}
    write_json(folder / "config.json", {"architectures": [name], **hf, **pad, "torch_dtype": dtype})
    weights.save(folder / weights.SINGLE, weights.stored_tensors(table, leaves))
    longest = config.max_positions if config.positions == "learned" else None
    if pairs is None:
        write_tokenizer(folder, tokenizer, max_length or longest)
    else:
        write_tokenizer(folder, tokenizer.with_pairs(), max_length or longest, pairs=pairs)


def _classifier(
    family: Any,
    hf: dict[str, Any],
    config: TransformerConfig,
    table: Table,
    spec: Mapping[str, Any],
    leaves: Mapping[str, Any],
) -> tuple[str, dict[str, Any], Table]:
    """The classifier of a family with this spec's head: its class, config.json and tensors."""
    if not hasattr(family, "classifier"):
        raise cannot(f"{hf['model_type']} has no model of sequence classification there")
    if hasattr(family, "CLASSIFIER"):
        name = family.CLASSIFIER
    else:
        name = family.architecture(hf).removesuffix("Model") + "ForSequenceClassification"
    said = family.classifier_settings(spec) if hasattr(family, "classifier_settings") else {}
    hf = {**hf, **said, "classifier_dropout": spec.get("head_dropout", 0.1)}
    plain = {k: p.default for k, p in inspect.signature(cross_encoder).parameters.items() if k in OWN}
    ours, theirs = {**plain, **spec}, {**plain, **family.classifier(hf)}
    for field in ("pooling", "pooler", "pooler_bias", "pooler_norm", "head_bias"):
        if ours[field] != theirs[field]:
            raise cannot(f"its head has {field}={ours[field]!r}, and {name}'s {field}={theirs[field]!r}")
    # A pooler is a part of BERT's trunk, the other heads stand beside theirs.
    outer = family.PREFIXES[0]
    of_head = {
        path: tensor._replace(name=outer + tensor.name) if tensor.name.startswith("pooler.") else tensor
        for path, tensor in family.classifier_names(config).items()
        if path in leaves
    }
    of_trunk = {path: tensor._replace(name=outer + tensor.name) for path, tensor in table.items()}
    hf |= dict(
        id2label={"0": "LABEL_0"},
        label2id={"LABEL_0": 0},
        # The scores as they are: without it sentence-transformers shows their sigmoids.
        sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"},
    )
    return name, hf, under("trunk", of_trunk) | of_head


def _masked(family: Any, hf: dict[str, Any], head: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The masked language model of a family, and its config.json for this head."""
    if not hasattr(family, "MASKED"):
        raise cannot(f"{hf['model_type']} has no masked language model there, whose head it would pool")
    fields = [f for f in dataclasses.fields(MlmHead) if f.name in MlmHead.__annotations__]
    plain = {f.name: f.default for f in fields if f.name not in ("config", "parent", "name")}
    hf = {**hf, "tie_word_embeddings": bool(head.get("tied", True))}
    ours, theirs = {**plain, **head}, {**plain, **family.mlm(hf)}
    other = [name for name in plain if ours[name] != theirs[name]]
    if other:
        name = other[0]
        raise cannot(
            f"its head over the vocabulary has {name}={ours[name]!r}, and {family.MASKED}'s "
            f"{name}={theirs[name]!r}"
        )
    return family.MASKED, hf


def _nearly(config: TransformerConfig) -> str:
    if config.causal is False and config.norm == "rmsnorm" and config.positions == "rotary":
        return " (a decoder's trunk made bidirectional)"
    if config.positions == "rotary" and config.first_norm and config.embedding_norm:
        return " (ModernBERT's would be it with first_norm=False)"
    return ""


def write_modules(folder: pathlib.Path, listed: list[tuple[str, str]], prompts: Mapping[str, str]) -> None:
    """modules.json and prompts of a dense model, from each module's folder and class."""
    for path, _ in listed:
        (folder / path).mkdir(exist_ok=True)
    write_json(
        folder / modules.MODULES,
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(listed)
        ],
    )
    facts = {
        "__version__": {"jaxir": jaxir.__version__},
        "model_type": "SentenceTransformer",
        "prompts": {"query": prompts["query"], "document": prompts["doc"]},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine" if listed[-1][1] == "Normalize" else "dot",
    }
    write_json(folder / modules.FACTS, facts)


def write_tokenizer(
    folder: pathlib.Path,
    tokenizer: Any,
    max_length: int | None,
    *,
    pairs: Mapping[str, Any] | None = None,
) -> None:
    """tokenizer.json and what transformers wants beside it; ``pairs``: the spec of a cross-encoder."""
    tokenizer.save(folder / "tokenizer.json")
    vocab = tokenizer.backend.get_vocab(with_added_tokens=True)
    roles = {role: next((t for t in written if t in vocab), None) for role, written in ROLES.items()}
    roles["pad_token"] = tokenizer.backend.id_to_token(tokenizer.pad_id) or roles["pad_token"]
    roles = {role: token for role, token in roles.items() if token is not None}
    limit = {} if max_length is None else {"model_max_length": max_length}
    types = ["token_type_ids"] if pairs and pairs.get("sep_id", -1) >= 0 else []
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", *types, "attention_mask"],
            **roles,
            **limit,
        },
    )
    write_json(folder / "special_tokens_map.json", roles)
    if max_length is not None and pairs is None:
        write_json(
            folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False}
        )
