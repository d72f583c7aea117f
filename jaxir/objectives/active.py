"""How many entries of sparse representations are active, in the metrics of a training step."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxir.objectives.objective import Objective
from jaxir.reduce import AxisName, masked_mean
from jaxir.types import Array, Batch, BatchReps

ACTIVE = {"query": "query/active", "docs": "docs/active"}
"""The metrics, by side."""


def count_active(objective: Objective, *, start: int = 0) -> Objective:
    """The same objective, whose metrics count the active entries of a query and of a document (means).

    Args:
      start: the first column that counts, where dense ones come before.
    """

    def apply(params: Any, reps: Any, batch: Batch, *, axis_name: AxisName = None, **how: Any) -> Any:
        loss, metrics, memory = objective.apply(params, reps, batch, axis_name=axis_name, **how)
        reps: BatchReps = reps if objective.layers is None else reps[-1]
        real = {"query": jnp.any(batch.where, axis=-1), "docs": batch.where}
        counts = {
            name: masked_mean(_active(getattr(reps, side).values[..., start:]), real[side], axis_name)
            for side, name in ACTIVE.items()
        }
        return loss, {**metrics, **counts}, memory

    # In micro-batches the terms of scores are applied to each of them, and their metrics averaged.
    parts = objective.parts and (count_active(objective.parts[0], start=start), objective.parts[1])
    return dataclasses.replace(objective, apply=apply, parts=parts)


def _active(values: Array) -> Array:
    return jnp.sum((jax.lax.stop_gradient(values) != 0).astype(jnp.float32), axis=-1)
