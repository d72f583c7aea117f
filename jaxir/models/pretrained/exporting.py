"""The way back: an encoder as a folder that sentence-transformers loads, or in jaxir's own format."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax

import jaxir
from jaxir.checks import InputError, check_known
from jaxir.files import PathLike, new_directory, write_json, write_text
from jaxir.models.pretrained import modules, weights
from jaxir.models.pretrained.assembling import CROSS, OWN, SPLADE, STATIC, TRANSFORMER, config_of, with_ids
from jaxir.models.pretrained.exporting_sparse import one_side, write_sparse
from jaxir.models.pretrained.names import Tensor
from jaxir.models.pretrained.writing import cannot, write_modules, write_trunk
from jaxir.models.towers import SIDES, Linear, linear_maps
from jaxir.trees import named
from jaxir.types import Params

FORMATS = ("sentence-transformers", "jaxir")


def export(
    out: PathLike,
    spec: Mapping[str, Any],
    params: Params,
    tokenizer: Any,
    *,
    to: str = "sentence-transformers",
    prompts: Mapping[str, str] | None = None,
    max_length: int | None = None,
    side: str | None = None,
    head: Mapping[str, Any] | None = None,
    card: str = "",
    overwrite: bool = False,
) -> None:
    """Writes a model folder: config.json, model.safetensors, tokenizer.json, and what the format adds.

    ``jaxir.models.pretrained.load(out)`` gives the same parameters back, bit for bit.

    Args:
      out: the new folder.
      spec: the encoder, ``dict(fn=..., **arguments)``, as a work directory's config has it, with its
        ``vocab_size``.
      to: ``sentence-transformers``: for that library and all that read its folders; or ``jaxir``: any
        encoder whatever, for jaxir alone.
      prompts: {"query": ..., "doc": ...}, the instructions put before texts; "suffix", a cross-encoder's
        behind each pair.
      max_length: tokens beyond which a text is cut.
      side: which of two separate towers; a sentence-transformers folder holds one.
      head: of a dense encoder whose params["mlm"] shall go with it: their arguments of MlmHead, as
        ``read(..., mlm=True).head`` has them. A sparse encoder's head always goes with it.
      card: the text of README.md.

    Raises:
      InputError: ``out`` exists, or the format cannot say this encoder; says why.
    """
    check_known("format", to, FORMATS)
    prompts = {"query": "", "doc": "", **(prompts or {})}
    spec, params = _one_tower(with_ids(spec, tokenizer, allow=None), params, side, to)
    with new_directory(out, overwrite=overwrite) as folder:
        if to == "jaxir":
            facts = {
                "version": jaxir.__version__,
                "encoder": spec,
                "prompts": prompts,
                "max_length": max_length,
            }
            write_json(folder / "config.json", {OWN: facts})
            weights.save(folder / weights.SINGLE, {p: jax.device_get(x) for p, x in named(params).items()})
            tokenizer.save(folder / "tokenizer.json")
        elif spec["fn"] == STATIC:
            _static(folder, spec, params, tokenizer, prompts)
        elif spec["fn"] == TRANSFORMER:
            _transformer(folder, spec, params, tokenizer, prompts, max_length, head)
        elif spec["fn"] == SPLADE:
            write_sparse(folder, spec, params, tokenizer, prompts, max_length)
        elif spec["fn"] == CROSS:
            if any(prompts.values()):
                raise cannot("a cross-encoder with a text before queries or around documents")
            write_trunk(folder, config_of(spec), named(params), tokenizer, max_length, pairs=spec)
        else:
            raise cannot(f"it is made by {spec.get('encoder', spec)['fn']}")
        write_text(
            folder / "README.md", card or f"# A text encoder\n\nWritten by jaxir {jaxir.__version__}.\n"
        )


def _one_tower(spec: dict[str, Any], params: Params, side: str | None, to: str) -> tuple[dict, Params]:
    separate = spec.get("towers", "tied") == "separate"
    if side is not None:
        check_known("side", side, SIDES)
        if not separate:
            raise InputError(f"side={side!r}: this encoder has one tower for both sides")
        return {**spec, "towers": "tied", **one_side(spec, side)}, params[side]
    if separate and to != "jaxir" and spec["fn"] != SPLADE:
        raise InputError(
            "this encoder has a tower for each side and a sentence-transformers folder holds one: export "
            "both, with --side=query and --side=doc"
        )
    return spec, params


def _transformer(
    folder: pathlib.Path,
    spec: Mapping[str, Any],
    params: Params,
    tokenizer: Any,
    prompts: Mapping[str, str],
    max_length: int | None,
    head: Mapping[str, Any] | None,
) -> None:
    config, leaves = config_of(spec), named(params)
    write_trunk(folder, config, leaves, tokenizer, max_length, head=head)

    pooling = spec.get("pooling", "mean")
    if callable(pooling):
        raise cannot("its pooling is a function")
    listed = [("", "Transformer"), ("1_Pooling", "Pooling")]
    names = [pooling] if isinstance(pooling, str) else list(pooling)
    write_json(folder / "1_Pooling" / "config.json", _pooling_config(names, config.dim))
    width = config.dim * len(names)
    for one in linear_maps(spec.get("projection")):
        place = f"{len(listed)}_Dense"
        _dense(folder / place, one, width, leaves)
        listed.append((place, "Dense"))
        width = one.features
    if spec.get("normalize", True):
        listed.append((f"{len(listed)}_Normalize", "Normalize"))
    write_modules(folder, listed, prompts)


def _pooling_config(names: list[str], width: int) -> dict[str, Any]:
    theirs = {ours: name for name, ours in modules.POOLINGS.items()}
    chosen = [theirs[name] for name in names]
    if len(chosen) == 1:  # the form that every version reads
        old = {key: name == chosen[0] for key, name in modules.OLD_POOLINGS.items()}
        return {"word_embedding_dimension": width, **old, "include_prompt": True}
    return {"embedding_dimension": width, "pooling_mode": chosen, "include_prompt": True}


def _dense(folder: pathlib.Path, one: Linear, width: int, leaves: Mapping[str, Any]) -> None:
    classes = {ours: theirs for theirs, ours in modules.ACTIVATIONS.items()}
    home = "linear" if one.activation == "identity" else "activation"
    config = {
        "in_features": width,
        "out_features": one.features,
        "bias": one.bias,
        "activation_function": f"torch.nn.modules.{home}.{classes[one.activation]}",
    }
    write_json(folder / "config.json", config)
    table = modules.dense_table(one.name, one.bias)
    weights.save(folder / weights.SINGLE, weights.stored_tensors(table, leaves))


def _static(
    folder: pathlib.Path, spec: Mapping[str, Any], params: Params, tokenizer: Any, prompts: Mapping[str, str]
) -> None:
    if tokenizer.head or tokenizer.tail:
        raise cannot("its StaticEmbedding puts no special tokens around a text, and this tokenizer does")
    if spec.get("token_weights", True) or spec.get("projection"):
        raise cannot("its StaticEmbedding is a plain mean of embeddings (token_weights=False, no projection)")
    listed = [("0_StaticEmbedding", "StaticEmbedding")]
    place = folder / listed[0][0]
    place.mkdir()
    weights.save(
        place / weights.SINGLE,
        weights.stored_tensors({"embedding": Tensor("embedding.weight")}, named(params)),
    )
    tokenizer.save(place / "tokenizer.json")
    if spec.get("normalize", True):
        listed.append(("1_Normalize", "Normalize"))
    write_modules(folder, listed, prompts)
