"""Sparse encoders as SparseEncoder folders of sentence-transformers (from version 5 on)."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

import jaxir
from jaxir.files import write_json
from jaxir.models.pretrained import modules, sparse_modules, weights
from jaxir.models.pretrained.assembling import config_of
from jaxir.models.pretrained.sparse_modules import ENCODER, POOLING, TABLE
from jaxir.models.pretrained.writing import cannot, write_tokenizer, write_trunk
from jaxir.models.sparse import WEIGHTS
from jaxir.models.towers import SIDES
from jaxir.trees import named
from jaxir.types import Params

TYPES = "sentence_transformers.sparse_encoder.models"
ROUTER_TYPE = "sentence_transformers.models.Router"
ROUTES = {"query": "query", "doc": "document"}


def write_sparse(
    folder: pathlib.Path,
    spec: Mapping[str, Any],
    params: Params,
    tokenizer: Any,
    prompts: Mapping[str, str],
    max_length: int | None,
) -> None:
    """MLMTransformer and SpladePooling; a Router over them where queries are encoded otherwise.

    Raises:
      InputError: what such a folder cannot say, by name.
    """
    longest = _longest(spec, max_length)
    active = _checked(spec, longest)
    query = spec.get("query", "encoder")
    doc_activation = spec.get("activation", "log1p_relu")
    of_query = spec.get("query_activation") or doc_activation
    separate = spec.get("towers", "tied") == "separate"
    head = spec.get("head") or {}

    def trunk(place: pathlib.Path, tower: Params) -> None:
        write_trunk(place, config_of(spec), named(tower), tokenizer, longest, head=head)

    def pooling(place: pathlib.Path, activation: str) -> None:
        theirs = {ours: name for name, ours in sparse_modules.ACTIVATIONS.items()}
        config = {
            "pooling_strategy": spec.get("pooling", "max"),
            "activation_function": theirs[activation],
            "word_embedding_dimension": spec["vocab_size"],
        }
        place.mkdir()
        write_json(place / "config.json", config)

    if query == "encoder" and not separate and of_query == doc_activation:
        trunk(folder, params)
        pooling(folder / f"1_{POOLING}", doc_activation)
        _finish(folder, [("", f"{TYPES}.{ENCODER}"), (f"1_{POOLING}", f"{TYPES}.{POOLING}")], prompts, active)
        return

    def encoder(side: str, tower: Params | None, activation: str) -> tuple[str, ...]:
        route = ROUTES[side]
        first, second = f"{route}_0_{ENCODER}", f"{route}_1_{POOLING}"
        if tower is not None:
            (folder / first).mkdir()
            trunk(folder / first, tower)
        pooling(folder / second, activation)
        return (first, second) if tower is not None else (f"document_0_{ENCODER}", second)

    structure = {"document": encoder("doc", params["doc"] if separate else params, doc_activation)}
    if query == "encoder":
        structure["query"] = encoder("query", params["query"] if separate else None, of_query)
    else:
        structure["query"] = (f"query_0_{TABLE}",)
        _write_table(folder / f"query_0_{TABLE}", spec, params, tokenizer, longest)
    kinds = {one: f"{TYPES}.{one.rpartition('_')[2]}" for route in structure.values() for one in route}
    # Queries first: of several dimensions the library takes those of the first route.
    routes = {route: list(structure[route]) for route in ROUTES.values()}
    write_json(
        folder / sparse_modules.ROUTES,
        {
            "types": kinds,
            "structure": routes,
            "parameters": {"default_route": "document", "allow_empty_key": True},
        },
    )
    _finish(folder, [("", ROUTER_TYPE)], prompts, active)


def one_side(spec: Mapping[str, Any], side: str) -> dict[str, Any]:
    """What changes in a spec when one of its two towers is taken out: what it said by side."""
    said = {}
    for name in ("top_k", "keep_ratio"):
        if isinstance(spec.get(name), Mapping):
            said[name] = spec[name].get(side)
    if spec.get("query_activation"):
        said["query_activation"] = None
        if side == "query":
            said["activation"] = spec["query_activation"]
    return said


def _longest(spec: Mapping[str, Any], max_length: int | None) -> int | None:
    config = config_of(spec)
    return max_length or (config.max_positions if config.positions == "learned" else None)


def _checked(spec: Mapping[str, Any], longest: int | None) -> int | None:
    """The number of entries kept, which such a folder has for both sides; None = all."""
    pooling, activation = spec.get("pooling", "max"), spec.get("activation", "log1p_relu")
    for one in (activation, spec.get("query_activation") or activation):
        if one not in sparse_modules.ACTIVATIONS.values():
            raise cannot(f"{POOLING} has no activation {one!r} (it has one logarithm, or two)")
    says = {
        f"{POOLING} has no pooling {pooling!r} (max and sum)": pooling not in ("max", "sum"),
        "it reads texts twice (echo)": spec.get("echo", False),
        "it leaves special tokens out of pooling (special_positions=False)": not spec.get(
            "special_positions", True
        ),
        "it blocks entries of the vocabulary (blocked_ids)": bool(spec.get("blocked_ids"))
        and bool(spec.get("block_on", SIDES)),
        "it cuts at a share of the largest weight (keep_ratio)": _some(spec.get("keep_ratio")),
    }
    for why, so in says.items():
        if so:
            raise cannot(why)
    kept = spec.get("top_k")
    by_side = {side: kept.get(side) if isinstance(kept, Mapping) else kept for side in SIDES}
    if spec.get("query", "encoder") != "encoder":  # bags are not pruned here, and would be there
        by_side["query"] = None
        if by_side["doc"] is not None and longest is not None and longest <= by_side["doc"]:
            by_side["query"] = by_side["doc"]  # no bag is so large
    if by_side["query"] != by_side["doc"]:
        raise cannot(
            f"it keeps {by_side['query'] or 'all'} entries of queries and {by_side['doc'] or 'all'} of "
            "documents (top_k), where its max_active_dims is one number for both"
        )
    return by_side["doc"]


def _some(value: Any) -> bool:
    return any(x is not None for x in value.values()) if isinstance(value, Mapping) else value is not None


def _write_table(
    place: pathlib.Path, spec: Mapping[str, Any], params: Params, tokenizer: Any, longest: int | None
) -> None:
    """The weights of query tokens as they act: none below 0, none of special tokens."""
    tokens, rows = len(tokenizer.backend.get_vocab(with_added_tokens=True)), spec["vocab_size"]
    if tokens != rows:
        raise cannot(
            f"its vocabulary has {rows} entries and the tokenizer {tokens} tokens, and {TABLE} has one "
            "weight per token"
        )
    bag = spec["query"] == "bag"
    values = np.ones(rows, np.float32) if bag else np.maximum(np.asarray(params[WEIGHTS], np.float32), 0)
    values[list(spec.get("special_ids", ()))] = 0
    place.mkdir()
    weights.save(place / weights.SINGLE, {"weight": values})
    write_json(place / "config.json", {"frozen": bag})
    write_tokenizer(place, tokenizer, longest)


def _finish(
    folder: pathlib.Path, listed: list[tuple[str, str]], prompts: Mapping[str, str], active: int | None
) -> None:
    write_json(
        folder / modules.MODULES,
        [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(listed)],
    )
    facts = {
        "__version__": {"jaxir": jaxir.__version__},
        "model_type": "SparseEncoder",
        "prompts": {"query": prompts["query"], "document": prompts["doc"]},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
        **({} if active is None else {"max_active_dims": active}),
    }
    write_json(folder / modules.FACTS, facts)
