"""From a model to its masked pre-training, and back to the encoder that pre-training is for."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from jaxir.checks import InputError
from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.assembling import SMAE, SPLADE, TRANSFORMER, Pretrained, with_ids
from jaxir.models.pretrained.reading import read
from jaxir.models.pretrained.reading_sparse import DENSE, NoHead
from jaxir.models.smae import with_decoder
from jaxir.types import Params


def read_pretraining(path: Any, arguments: Mapping[str, Any], **options: Any) -> Pretrained:
    """A folder's backbone for masked pre-training.

    Its head over the vocabulary is the folder's, at random where it has none; the decoder's block is a copy
    of the trunk's first one.

    Args:
      arguments: of :func:`jaxir.models.smae.masked_language_model`.
      **options: of :func:`jaxir.models.pretrained.read`.

    Raises:
      InputError: what reading refuses; a model without a trunk, or with two.
    """
    check_arguments(options)
    try:
        found = read(path, sparse=_of_head(arguments), **options)
    except NoHead:
        found = read(path, sparse={"head": {}}, **options)
    spec = with_ids(pretraining_spec(found.spec, arguments, found.path), found.tokenizer)
    return found._replace(spec=spec, params=completed(spec, found.params))


def pretraining_spec(
    spec: Mapping[str, Any], arguments: Mapping[str, Any], path: pathlib.Path
) -> dict[str, Any]:
    """The spec of the masked language model of an encoder's trunk.

    A dense encoder's pooling makes the decoder's vector, a sparse one's head is gone on with.

    Raises:
      InputError: an encoder without a trunk, or with one for each side.
    """
    if spec["fn"] == SMAE:
        return {**spec, **arguments}
    fields = {k: v for k, v in spec.items() if k in TransformerConfig.__dataclass_fields__}
    if "static" in spec["fn"] or spec.get("towers", "tied") != "tied":
        raise InputError(
            f"{path} is made by {spec['fn']} with towers={spec.get('towers', 'tied')!r}: masked pre-training "
            "takes an encoder with one transformer"
        )
    given: dict[str, Any] = {}
    if spec["fn"] == SPLADE:
        fields["activation"] = spec.get("trunk_activation") or TransformerConfig.activation
        given["head"] = dict(spec.get("head") or {})
    elif spec["fn"] == TRANSFORMER and isinstance(spec.get("pooling", "mean"), str):
        given["pooling"] = spec.get("pooling", "mean")
    return {"fn": SMAE, **fields, **given, **arguments}


def encoder_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of the dense encoder that a pre-trained trunk is: its vector is what the decoder got."""
    if spec["fn"] != SMAE:
        return dict(spec)
    fields = {k: v for k, v in spec.items() if k in TransformerConfig.__dataclass_fields__}
    return {"fn": TRANSFORMER, **fields, "pooling": spec.get("pooling", "cls")}


def completed(spec: Mapping[str, Any], params: Params) -> Params:
    """What of the parameters pre-training has, with a decoder where it wants one and there is none."""
    kept = {name: params[name] for name in ("trunk", "mlm", "decoder") if name in params}
    return kept if "decoder" in kept or not spec.get("decoder", True) else with_decoder(kept)


def check_arguments(changes: Mapping[str, Any]) -> None:
    """Raises for arguments of dense and sparse encoders."""
    for name in ("sparse", *DENSE, "towers"):
        if name in changes:
            raise InputError(
                f"{name} does not go with pretraining, whose own arguments go into pretraining=dict(...)"
            )


def _of_head(arguments: Mapping[str, Any]) -> dict[str, Any]:
    head = arguments.get("head")
    return {} if head is None else {"head": head}
