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


def check_ascending(what: str, sizes: Sequence[Any]) -> None:
    """Raises unless each size holds the one before and differs from it; numbers or pairs of numbers.

    Raises:
      InputError: none, or unsorted or repeated ones, with the order they should have.
    """
    if not sizes:
        raise InputError(f"{what} is empty: give sizes from small to large")
    pairs = [size if isinstance(size, (tuple, list)) else (size,) for size in sizes]
    for small, large in itertools.pairwise(pairs):
        if small == large or any(a > b for a, b in zip(small, large)):
            better = sorted(set(map(tuple, pairs)))
            asked = tuple(p[0] if len(p) == 1 else p for p in better)
            raise InputError(
                f"{what} must go from small to large without repetitions, and {large} comes after {small}: "
                f"give {asked!r}, or leave one out"
            )


def check_sizes(encoder: Encoder, sizes: Sequence[Size]) -> None:
    """Raises unless the encoder has every size.

    Raises:
      InputError: a layer or dimensions that it does not have.
    """
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
