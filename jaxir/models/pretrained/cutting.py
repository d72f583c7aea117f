"""A smaller size of an encoder as an encoder of its own: with fewer blocks, and fewer dimensions or terms.

What :func:`jaxir.models.cut.cut` does when it encodes stands here in the spec and the parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxir import trees
from jaxir.checks import InputError
from jaxir.config import TRUSTED, Allow, build
from jaxir.models.cut import check_size
from jaxir.models.pretrained.assembling import SPLADE, STATIC, TRANSFORMER
from jaxir.models.towers import SIDES, linear_maps
from jaxir.types import Params

CUT = "jaxir.models.cut:cut"
BLOCK = re.compile(r"(?:^|/)layers_(\d+)/")


def cut_spec(
    spec: Mapping[str, Any],
    params: Params,
    *,
    layers: int | None = None,
    dims: int | None = None,
    allow: Allow = TRUSTED,
) -> tuple[dict[str, Any], Params]:
    """The spec and the parameters of the encoder that is left; a trunk's final norm stays, and comes last.

    A dense encoder of a transformer gets the first ``dims`` columns of its last map after pooling, or of the
    identity where it has none; a static one those of its embeddings; a sparse one keeps ``dims`` terms of
    documents, and of queries that are encoded. Any other is wrapped in :func:`jaxir.models.cut.cut`.

    Args:
      spec: ``dict(fn=..., **arguments)`` with its ``vocab_size``, and ids where it can have names.

    Raises:
      InputError: a size that the encoder does not have.
    """
    encoder, spec = build(spec, allow=allow), dict(spec)
    check_size(encoder, layers=layers, dims=dims)
    if layers is not None and layers < encoder.layers:
        spec["layers"] = layers
        params = _without(params, lambda name: any(int(i) >= layers for i in BLOCK.findall(name)))
    if dims is not None and dims < encoder.dim:
        if spec["fn"] == TRANSFORMER:
            spec, params = _project(spec, params, encoder.dim, dims)
        elif spec["fn"] == STATIC and not spec.get("projection"):
            spec["dim"], params = dims, _sliced(params, r"(^|/)embedding$", dims)
        elif spec["fn"] == STATIC:
            spec, params = _project(spec, params, encoder.dim, dims)
        elif spec["fn"] == SPLADE:
            spec["top_k"] = _top_k(spec, dims)
        else:
            spec = {"fn": CUT, "encoder": spec, "dims": dims}
    shapes = jax.eval_shape(build(spec, allow=allow).init, jax.random.key(0))
    want, have = ({name: x.shape for name, x in trees.named(tree).items()} for tree in (shapes, params))
    if want != have:
        raise InputError(f"an encoder made by {spec['fn']} cannot be cut to a smaller one")
    return spec, params


def _project(spec: dict[str, Any], params: Params, width: int, dims: int) -> tuple[dict[str, Any], Params]:
    maps = linear_maps(spec.get("projection"))
    if not maps:
        towers = SIDES if spec.get("towers") == "separate" else ("",)
        dtype = jax.tree.leaves(params)[0].dtype
        new = {"projection": {"kernel": jnp.asarray(np.eye(width, dims), dtype)}}
        added = {**params, **new} if towers == ("",) else {side: {**params[side], **new} for side in towers}
        return {**spec, "projection": dims}, added
    given = spec["projection"]
    changed = dims if isinstance(given, int) else (*given[:-1], {**given[-1], "features": dims})
    params = _sliced(params, rf"(^|/){maps[-1].name}/(kernel|bias)$", dims)
    return {**spec, "projection": changed}, params


def _top_k(spec: Mapping[str, Any], dims: int) -> int | dict[str, int | None]:
    said = spec.get("top_k")
    kept = dict(said) if isinstance(said, Mapping) else dict.fromkeys(SIDES, said)
    kept = {side: min(kept.get(side) or dims, dims) for side in SIDES}
    if spec.get("query", "encoder") != "encoder":  # a bag or a table is not cut
        return {"query": None, "doc": kept["doc"]}
    return kept["doc"] if kept["query"] == kept["doc"] else kept


def _sliced(params: Params, pattern: str, dims: int) -> Params:
    return trees.map_named(lambda name, x: x[..., :dims] if re.search(pattern, name) else x, params)


def _without(tree: Any, dropped: Any, path: str = "") -> Any:
    """The tree of dicts without the leaves whose paths are ``dropped``, nor what is empty then."""
    if not isinstance(tree, Mapping):
        return tree
    kept = {}
    for name, part in tree.items():
        below = f"{path}{name}/"
        if not dropped(below):
            kept[name] = _without(part, dropped, below)
    return kept
