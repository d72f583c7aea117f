"""Smaller representations of an encoder: those of an earlier layer, and their first dimensions."""

from __future__ import annotations

from typing import Any

from jaxir import scoring
from jaxir.checks import InputError
from jaxir.models.pruning import top_k
from jaxir.types import Encoder, Params, Reps, Tokens

NAMES = {"dense": "dimensions", "tokens": "dimensions", "sparse": "active terms", "scores": "scores"}
"""What a size counts, by kind of encoder."""


def cut_reps(reps: Reps, dims: int, *, kind: str = "dense", normalized: bool = False) -> Reps:
    """Representations of a smaller size.

    Of vectors, and of one vector per token, the first ``dims`` dimensions, normalised again where the whole
    is normalised; of sparse ones the ``dims`` largest terms, the others 0. All of them: the same values.

    >>> import jax.numpy as jnp
    >>> cut_reps(Reps(jnp.array([3.0, 4.0, 12.0])), 2, normalized=True).values.round(1).tolist()
    [0.6..., 0.8...]
    >>> cut_reps(Reps(jnp.array([3.0, 4.0, 12.0])), 2, kind="sparse").values.tolist()
    [0.0, 4.0, 12.0]
    """
    if dims >= reps.values.shape[-1]:
        return reps
    if kind == "sparse":
        return reps._replace(values=top_k(reps.values, dims))
    values = reps.values[..., :dims]
    return reps._replace(values=scoring.normalize(values) if normalized else values)


def cut(encoder: Encoder, *, layers: int | None = None, dims: int | None = None) -> Encoder:
    """The encoder of the same parameters that stops after ``layers`` blocks and keeps ``dims`` dimensions.

    Blocks beyond are not computed. A sparse encoder keeps its ``dims`` largest terms; its queries of a table
    or a bag are not cut. None = as it is.

    Raises:
      InputError: sizes beyond the encoder's, layers of an encoder without any, a hybrid.
    """
    check_size(encoder, layers=layers, dims=dims)
    if (layers in (None, encoder.layers)) and (dims in (None, encoder.dim)):
        return encoder
    width, depth = dims or encoder.dim, layers
    as_it_is = dict(kind=encoder.kind, normalized=encoder.normalized)

    def encode(params: Params, tokens: Tokens, *, side: str = "query", layers: Any = None, **how: Any) -> Any:
        asked = (depth,) if layers is None and depth is not None else layers
        found = encoder.encode(params, tokens, side=side, layers=asked, **how)
        free = side == "query" and encoder.table is not None
        small = lambda reps: reps if free else cut_reps(reps, width, **as_it_is)
        if layers is None and asked is not None:
            return small(found[0])
        return small(found) if layers is None else tuple(map(small, found))

    dim = encoder.dim if encoder.kind == "sparse" else width
    return encoder._replace(encode=encode, dim=dim, layers=layers or encoder.layers)


def check_size(encoder: Encoder, *, layers: int | None = None, dims: int | None = None) -> None:
    """Raises unless the encoder has so many layers, and dimensions or terms.

    Raises:
      InputError: it has not.
    """
    if encoder.kind == "hybrid":
        raise InputError(
            "a hybrid's dense and sparse columns cannot be cut together: cut its parts, encoder.parts, each "
            "for itself"
        )
    if layers is not None:
        if not encoder.layers:
            raise InputError(f"layers={layers}: this encoder has no layers to choose from, leave them out")
        if not _whole(layers) or not 1 <= layers <= encoder.layers:
            raise InputError(f"layers={layers}: the encoder has layers 1 to {encoder.layers}")
    if dims is not None and (not _whole(dims) or not 1 <= dims <= encoder.dim):
        raise InputError(f"dims={dims}: the encoder has 1 to {encoder.dim} {NAMES[encoder.kind]}")


def _whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)
