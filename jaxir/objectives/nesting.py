"""How an objective sees the sizes of nested representations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxir.checks import InputError
from jaxir.models.cut import check_size, cut_reps
from jaxir.objectives.objective import Objective
from jaxir.types import Array, Batch, BatchReps, Encoder, Params


class Size(NamedTuple):
    """``layer`` blocks (None = all of them) and ``dims`` dimensions, or active terms of sparse encoders."""

    layer: int | None
    dims: int

    def __str__(self) -> str:
        return f"{self.dims}" if self.layer is None else f"{self.layer}x{self.dims}"


def widths(dims: Any) -> tuple[Size, ...]:
    """Sizes of all layers from ``dims=(32, 64)``.

    Raises:
      InputError: no whole numbers, none at all, or not from small to large.
    """
    if not _is_list(dims) or not all(map(_is_whole, dims)):
        raise InputError(
            f"dims is {dims!r}, expected whole numbers from small to large, such as (32, 64, 128)"
        )
    check_ascending("dims", dims)
    return tuple(Size(None, d) for d in dims)


def pairs(sizes: Any) -> tuple[Size, ...]:
    """Sizes from ``sizes=((2, 32), (4, 64))``: layers and dimensions.

    Raises:
      InputError: no pairs of whole numbers, none at all, or not from small to large.
    """
    known = _is_list(sizes) and all(_is_list(s) and len(s) == 2 and all(map(_is_whole, s)) for s in sizes)
    if not known:
        raise InputError(
            f"sizes is {sizes!r}, expected pairs (layers, dimensions) from small to large, such as "
            "((2, 32), (4, 64))"
        )
    check_ascending("sizes", sizes)
    return tuple(Size(*size) for size in sizes)


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str)


def _is_whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def check_ascending(what: str, sizes: Sequence[Any]) -> None:
    """Raises unless each size holds the one before and differs from it; numbers or pairs of numbers.

    Raises:
      InputError: none, or unsorted or repeated ones, with the order they should have.
    """
    if not sizes:
        raise InputError(f"{what} is empty: give sizes from small to large")
    sizes = [tuple(size) if _is_list(size) else (size,) for size in sizes]
    name = lambda size: size[0] if len(size) == 1 else size
    for less, more in itertools.pairwise(sizes):
        if less == more or any(a > b for a, b in zip(less, more)):
            better = sorted(set(sizes))
            chain = all(a <= b for s, t in itertools.pairwise(better) for a, b in zip(s, t))
            advice = (
                f"give {tuple(map(name, better))!r}" if chain else "neither holds the other: leave one out"
            )
            raise InputError(
                f"{what} must go from small to large without repetitions, and {name(more)} comes after "
                f"{name(less)}: {advice}"
            )


def check_sizes(objective: Objective, encoder: Encoder, sizes: Sequence[Size]) -> None:
    """Raises unless the encoder has every size, and the objective none yet.

    Raises:
      InputError: a layer or dimensions that the encoder does not have, a hybrid, an objective of layers.
    """
    if objective.layers is not None:
        raise InputError(
            f"this objective is already one of the layers {objective.layers}: wrap the plain one, once"
        )
    if encoder.kind == "hybrid":
        raise InputError(
            "a hybrid has no nested sizes, its dense and sparse columns cannot be cut together: leave "
            "'nested' out, or train one of its parts"
        )
    if not encoder.layers and any(size.layer is not None for size in sizes):
        raise InputError(
            "sizes name layers and this encoder has none to choose from: nest by dimensions alone, with "
            'dict(fn="jaxir.objectives:matryoshka", dims=...)'
        )
    for size in sizes:
        check_size(encoder, layers=size.layer, dims=size.dims)


def small(reps: BatchReps, dims: int, encoder: Encoder) -> BatchReps:
    """Both sides at a smaller width; a query that is a bag of words stays as it is."""
    how = dict(kind=encoder.kind, normalized=encoder.normalized)
    query = reps.query if encoder.table is not None else cut_reps(reps.query, dims, **how)
    return BatchReps(query, cut_reps(reps.docs, dims, **how))


def width(encoder: Encoder, dims: int) -> int:
    """How many columns the representations of that size have."""
    return encoder.dim if encoder.kind == "sparse" else dims


def apply_to(
    objective: Objective,
    size: Size,
    params: Params,
    reps: BatchReps,
    batch: Batch,
    memory: Any,
    **how: Any,
) -> tuple[Array, dict[str, Array], dict[str, Any]]:
    """The objective at one size: (loss, metrics under the size's name, {name: memory})."""
    held = None if memory is None else memory.get(str(size))
    loss, metrics, new = objective.apply(params, reps, batch, memory=held, **how)
    return loss, {f"{size}/{k}": v for k, v in metrics.items()}, {str(size): new}


def check_weight(name: str, weight: float) -> None:
    """Raises an InputError for a weight below 0."""
    if not weight >= 0:
        raise InputError(f"{name} is {weight}, it must be at least 0 (0 leaves it out)")
