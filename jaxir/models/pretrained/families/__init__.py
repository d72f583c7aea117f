"""The model families that can be read and written: one module each, found by config.json's model_type.

Every module has

- ``MODEL_TYPES``: the names it answers to in config.json;
- ``ARCHITECTURE``, or ``architecture(hf)``: the class of transformers that an export names; ``MASKED``:
  the one of a masked language model, where there is one;
- ``PREFIXES``: what stands before the trunk's tensor names where a file holds more than the trunk;
- ``UNUSED``: regexes of tensors that no retrieval encoder needs;
- ``trunk(hf) -> dict``: config.json -> fields of :class:`jaxir.models.config.TransformerConfig`;
- ``settings(config) -> dict``: the way back, config.json for a trunk's config;
- ``names(config) -> Table``: the trunk's tensors;
- ``mlm(hf) -> dict`` and ``mlm_names(...)``: the same for the head over the vocabulary;
- ``classifier(hf) -> dict`` and ``classifier_names(...)``: the same for a cross-encoder's head, and
  ``CLASSIFIER`` the class of transformers with it, where it is not named after ``architecture(hf)``;
  ``classifier_settings(spec)``: what config.json says of that head, where it says anything.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jaxir.checks import InputError, nearest
from jaxir.models.config import TransformerConfig

# The order in which an export tries them.
FAMILIES = ("bert", "distilbert", "roberta", "mpnet", "modernbert", "t5", "llama", "gemma")

# What a trunk's fields say about a run and not about the model: no published config holds them.
OF_THE_RUN = ("dropout", "dtype", "remat", "scan", "attention", "init_std")


def of_config(hf: Mapping[str, Any]) -> tuple[ModuleType, dict[str, Any]]:
    """The family of a config.json, and the part of it that describes the text model.

    Raises:
      InputError: an architecture that is not known here; says which are.
    """
    if "text_config" in hf and isinstance(hf["text_config"], Mapping):  # the text part of Gemma 3
        hf = hf["text_config"]
    kind = str(hf.get("model_type", ""))
    known = {}
    for name in FAMILIES:
        family = _module(name)
        known.update(dict.fromkeys(family.MODEL_TYPES, family))
    if kind not in known:
        raise InputError(
            f"config.json is of the architecture {kind or 'without model_type'!r}, which jaxir does not "
            f"know.{nearest(kind, known)} Known: {', '.join(known)}"
        )
    return known[kind], dict(hf)


def that_can_say(config: TransformerConfig) -> tuple[ModuleType, dict[str, Any]] | None:
    """A family whose config.json describes exactly this trunk, with that config.json; or None."""
    for name in FAMILIES:
        family = _module(name)
        hf = family.settings(config)
        if hf is None:
            continue
        try:
            said = TransformerConfig(**family.trunk(hf))
        except InputError:
            continue
        if _shape(said) == _shape(config):
            return family, hf
    return None


def _shape(config: TransformerConfig) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    for name in OF_THE_RUN:
        fields.pop(name)
    fields["windows"] = tuple(config.window(i) for i in range(config.layers))
    fields.update(head_dim=config.head_size, kv_heads=config.kv_size, ff_dim=config.ff_size)
    for name in ("qkv_bias", "ff_bias"):
        fields[name] = config.bias if fields[name] is None else fields[name]
    if config.norm == "rmsnorm":  # has no bias in any case
        fields["norm_bias"] = False
    else:
        fields["norm_bias"] = config.bias if config.norm_bias is None else config.norm_bias
    if config.positions != "learned":
        del fields["max_positions"]
    if config.positions != "rotary":
        del fields["rotary_theta"], fields["rotary_theta_local"]
    elif not any(fields["windows"]) or config.rotary_theta_local == config.rotary_theta:
        fields["rotary_theta_local"] = None
    if not config.relative_buckets:
        del fields["relative_distance"]
    if config.norm_position == "post":
        del fields["first_norm"]
    return fields


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"jaxir.models.pretrained.families.{name}")
