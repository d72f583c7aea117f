"""What training minimises, as pure functions of the encoded batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxir.reduce import AxisName
from jaxir.types import Array, Batch, BatchReps, Params, Reps


def nothing(dim: int) -> dict[str, Any]:
    """The memory of an objective that needs none."""
    return {}


@dataclasses.dataclass(frozen=True)
class Objective:
    """What training minimises: pure functions of the encoded batch.

    ``init(key) -> params`` holds what the objective itself learns (a temperature), {} otherwise.
    ``apply(params, reps, batch, *, step, key, axis_name, memory) -> (loss, metrics, memory)``. Calling the
    objective is ``apply`` with ``params={}`` unless given, and gives (loss, metrics).

    ``layers`` names the encoder's layers that it wants, shallow ones first: ``reps`` is then a tuple with
    the :class:`BatchReps` of each. None = the last one's alone, and no tuple.

    ``scores(params, query [b, ...], docs [m, ...]) -> [b, m]``, of :class:`jaxir.types.Reps`, is what its
    first term of in-batch scores compares, the temperature included; None without such a term.

    ``memory(dim)`` is what it carries from step to step beside parameters, for representations of ``dim``
    dimensions: a tree of zeros, the same on all devices; {} for none. ``apply`` with memory None begins anew.

    ``parts`` are two objectives with the same parameters, of which it is the sum: one of scores, which
    micro-batches may compute each for itself, and one of representations, which has to see the whole batch
    (and has the memory). None where it is all of scores.
    """

    init: Callable[[Array], Params]
    apply: Callable[..., tuple[Array, dict[str, Array], Any]]
    layers: tuple[int, ...] | None = None
    scores: Callable[[Params, Reps, Reps], Array] | None = None
    memory: Callable[[int], Any] = nothing
    parts: tuple[Objective, Objective] | None = None

    def __call__(
        self,
        reps: BatchReps | tuple[BatchReps, ...],
        batch: Batch,
        *,
        params: Params | None = None,
        step: Array | int = 0,
        key: Array | None = None,
        axis_name: AxisName = None,
        memory: Any = None,
    ) -> tuple[Array, dict[str, Array]]:
        how = dict(step=step, key=key, axis_name=axis_name, memory=memory)
        return self.apply(params or {}, reps, batch, **how)[:2]
