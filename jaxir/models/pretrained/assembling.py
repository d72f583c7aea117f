"""What a model read from a folder comes to: its leaves in their places, its tokenizer."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxir.checks import InputError
from jaxir.config import TRUSTED, Allow, import_path
from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained import weights
from jaxir.models.pretrained.names import Tensor
from jaxir.trees import named
from jaxir.types import Encoder, Params

TRANSFORMER, STATIC = "jaxir.models.encoder:transformer", "jaxir.models.static:static"
SPLADE = "jaxir.models.sparse:splade"
SMAE = "jaxir.models.smae:masked_language_model"
CROSS = "jaxir.models.cross_encoder:cross_encoder"
OWN = "jaxir"  # the key of config.json under which our own format keeps its facts

Source = tuple[weights.Weights, Tensor] | np.ndarray


class Pretrained(NamedTuple):
    """A model read from a folder; ``jaxir.config.build(spec)`` is its encoder."""

    spec: dict[str, Any]  # dict(fn=..., **arguments): what JSON can write
    params: Params
    tokenizer: Any  # jaxir.data.tokenizer.Tokenizer
    prompts: dict[str, str]  # instructions by side, "" if none
    max_length: int | None  # tokens
    path: pathlib.Path
    fingerprint: str
    head: dict[str, Any] | None = None  # arguments of MlmHead, if it was asked for


def splade_fields(trunk: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a trunk as the splade encoder takes them, whose ``activation`` is that of its weights."""
    return {"trunk_activation" if k == "activation" else k: v for k, v in trunk.items()}


ID_FIELDS = ("special_ids", "blocked_ids", "continues")
"""Arguments of encoders that are ids of the vocabulary, or in a config names of groups of them."""


def with_ids(spec: Mapping[str, Any], tokenizer: Any, *, allow: Allow = TRUSTED) -> dict[str, Any]:
    """The spec with the ids of special, blocked and continuing tokens that it names ("stopwords").

    An encoder that takes ``special_ids`` and is given none gets the tokenizer's; in the same way ``mask_id``,
    and where it knows whole words ``continues``. A cross-encoder of two token types gets the token that ends
    queries, -1 where the tokenizer gives both texts of a pair the same type.

    Raises:
      InputError: it takes a mask token, and the tokenizer has none.
    """
    from jaxir.data import vocabulary

    out = dict(spec)
    takes = inspect.signature(import_path(spec["fn"], allow=allow)).parameters
    usual = {"special_ids": "special"}
    if "whole_word" in takes:
        usual["continues"] = vocabulary.CONTINUATIONS
    if "mask_id" in takes and out.get("mask_id") is None:
        out["mask_id"] = vocabulary.mask_id(tokenizer)
    if "sep_id" in takes and out.get("sep_id") is None and out.get("token_types", 0) > 1:
        pair = tokenizer.pair()
        out["sep_id"] = pair.middle[0] if pair.segments and pair.middle else -1
    for key in ID_FIELDS:
        given = out.get(key) or ((usual[key],) if key in usual else ())
        given = (given,) if isinstance(given, str) else tuple(given)
        if key in takes and given:
            out[key] = list(vocabulary.ids_of(tokenizer, given))
    return out


def config_of(spec: Mapping[str, Any]) -> TransformerConfig:
    """The trunk of an encoder's spec."""
    given = dict(spec)
    if spec["fn"] == SPLADE:
        given["activation"] = given.pop("trunk_activation", None) or TransformerConfig.activation
    fields = TransformerConfig.__dataclass_fields__
    return TransformerConfig(**{k: v for k, v in given.items() if k in fields})


def assemble(
    shapes: Any,
    sources: Mapping[str, Source],
    encoder: Encoder,
    dtype: Any,
    shardings: weights.Shardings | None,
) -> Params:
    """Reads every leaf into its place; what no file has (a new projection) starts at random."""
    typed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), shapes)
    if shardings is None:
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        places = jax.tree.map(lambda _: one, typed)
    else:
        places = shardings(typed)
    flat_shapes, flat_places = named(typed), named(places)
    out = {}
    for path, leaf in flat_shapes.items():
        source = sources.get(path)
        if isinstance(source, np.ndarray):
            out[path] = jax.device_put(source.astype(dtype), flat_places[path])
        elif source is not None:
            out[path] = weights.read_leaf(*source, leaf, dtype, flat_places[path])
    fresh = tuple(path for path in flat_shapes if path not in sources)
    if fresh:

        def init(key: jax.Array) -> dict[str, jax.Array]:
            made = named(encoder.init(key))
            return {path: made[path].astype(dtype) for path in fresh}

        out |= jax.jit(init, out_shardings={p: flat_places[p] for p in fresh})(jax.random.key(0))
    structure = jax.tree.structure(shapes)
    return jax.tree.unflatten(structure, [out[path] for path in flat_shapes])


def open_tokenizer(folder: pathlib.Path, lowercase: bool, *, special: bool = True) -> Any:
    """The folder's tokenizer.

    Raises:
      InputError: there is none.
    """
    # Imported here: the `tokenizers` library is not needed by those who bring their own token ids.
    from jaxir.data import tokenizer as tokenizers

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(
            f"{folder} has no tokenizer.json. Where transformers is installed, "
            f"AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r}) writes one"
        )
    return tokenizers.load(path, lowercase=lowercase, special=special)


def check_vocabulary(folder: pathlib.Path, tokenizer: Any, rows: int) -> None:
    """Raises unless each of the tokenizer's tokens has an embedding."""
    if tokenizer.vocab_size > rows:
        raise InputError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens and the weights have "
            f"{rows} embeddings; they do not belong together"
        )
