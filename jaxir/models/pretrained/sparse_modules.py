"""What a SparseEncoder folder of sentence-transformers says: its modules as arguments of the splade encoder.

Read are Transformer ("fill-mask", formerly MLMTransformer) and SpladePooling; and a Router that has these for
documents and a SparseStaticEmbedding (an inference-free query: one weight per token) or encoders of its own
for queries.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxir.checks import InputError
from jaxir.files import read_json
from jaxir.models.pretrained import modules

ENCODER, POOLING, TABLE, ROUTER = "MLMTransformer", "SpladePooling", "SparseStaticEmbedding", "Router"
ROUTES = "router_config.json"

# Their names count the logarithms after log(1 + x), ours all of them.
ACTIVATIONS = {"relu": "log1p_relu", "log1p_relu": "l0"}

Modules = list[tuple[str, pathlib.Path]]


class Sparse(NamedTuple):
    """What a folder says beside :class:`modules.Described`, whose trunk is that of documents."""

    described: modules.Described
    arguments: dict[str, Any]  # of the splade encoder
    query_trunk: pathlib.Path | None = None  # where queries have an encoder of their own
    table: pathlib.Path | None = None  # a SparseStaticEmbedding of queries
    max_active: int | None = None  # entries that are kept, of documents and of queries


def find(folder: pathlib.Path) -> Sparse | None:
    """The description of a sparse encoder; None for a folder that has none of its modules.

    Raises:
      InputError: an arrangement of modules, or a setting, that jaxir does not have.
    """
    if not (folder / modules.MODULES).is_file():
        return None
    facts = read_json(folder / modules.FACTS) if (folder / modules.FACTS).is_file() else {}
    listed = modules.listed(folder)
    routes = _routes(listed)
    if not {name for route in routes.values() for name, _ in route} & {ENCODER, POOLING, TABLE}:
        return None
    if not {"query", "document"} <= routes.keys():
        raise InputError(
            f"{folder} has the routes {', '.join(routes)}; jaxir reads those named query and document"
        )
    doc, query = routes["document"], routes["query"]
    trunk, arguments = _encoder(folder, doc)
    query_trunk = table = None
    if [name for name, _ in query] == [TABLE]:
        table = query[0][1]
    else:
        other, of_query = _encoder(folder, query)
        if of_query["pooling"] != arguments["pooling"]:
            raise InputError(
                f"{folder} pools queries by {of_query['pooling']} and documents by {arguments['pooling']}; "
                "jaxir's sparse encoders have one pooling"
            )
        if of_query["activation"] != arguments["activation"]:
            arguments["query_activation"] = of_query["activation"]
        if other != trunk:
            query_trunk = other
            arguments["towers"] = "separate"
    if facts.get("similarity_fn_name") not in (None, "dot"):
        raise InputError(
            f"{folder} compares by {facts['similarity_fn_name']}; jaxir's sparse encoders have dot products"
        )
    described = modules.Described(
        trunk, {}, (), modules.prompts_of(facts), modules.max_length(trunk), modules.lowercase(trunk)
    )
    return Sparse(described, arguments, query_trunk, table, facts.get("max_active_dims"))


def _routes(listed: Modules) -> dict[str, Modules]:
    """The modules that a text of each side goes through."""
    if not listed or listed[0][0] != ROUTER:
        return {"query": listed, "document": listed}
    home = listed[0][1]
    config = read_json(home / ROUTES if (home / ROUTES).is_file() else home / "config.json")
    name = lambda one: config["types"][one].rpartition(".")[2]
    return {
        route: [*((name(one), home / one) for one in structure), *listed[1:]]
        for route, structure in config["structure"].items()
    }


def _encoder(folder: pathlib.Path, route: Modules) -> tuple[pathlib.Path, dict[str, Any]]:
    names = [name for name, _ in route]
    if names not in (["Transformer", POOLING], [ENCODER, POOLING]):
        raise InputError(
            f"{folder} has the modules {', '.join(names)}; jaxir reads Transformer (or {ENCODER}) and "
            f"{POOLING}, and for queries also {TABLE}"
        )
    (kind, trunk), (_, pooling) = route
    task = modules.sentence_config(trunk).get(
        "transformer_task", "fill-mask" if kind == ENCODER else "feature-extraction"
    )
    if task != "fill-mask":
        raise InputError(f"{folder} pools what its Transformer gives for {task!r}; jaxir reads 'fill-mask'")
    return trunk, _pooling(pooling, read_json(pooling / "config.json"))


def _pooling(folder: pathlib.Path, config: Mapping[str, Any]) -> dict[str, Any]:
    activation = config.get("activation_function", "relu")
    if activation not in ACTIVATIONS:
        raise InputError(f"{folder} has the activation {activation!r}; known: {', '.join(ACTIVATIONS)}")
    return {"pooling": config.get("pooling_strategy", "max"), "activation": ACTIVATIONS[activation]}
