"""What a term carries from step to step and does not learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxir.checks import InputError
from jaxir.losses.sparsity import active_share
from jaxir.reduce import AxisName
from jaxir.types import Array


class Memory(NamedTuple):
    """A memory of representations, kept on every device alike.

    ``init(dim) -> {name: zeros}``. ``update(memory, values, where, axis_name) -> memory`` gets the global
    batch's rows, once per optimiser step, before the term is computed. What the term's function takes as an
    argument of the same name is given to it.
    """

    init: Callable[[int], dict[str, Array]]
    update: Callable[[dict[str, Array], Array, Array | None, AxisName], dict[str, Array]]


def running_df(decay: float = 0.99) -> Memory:
    """Document frequencies ``df`` [dim]: the share of documents of which a dimension is not 0.

    Mean over the batches so far, exponential once they are more than 1 / (1 - decay): the first step's are
    its own batch's.

    Raises:
      InputError: a decay outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise InputError(f"decay of running_df is {decay}, it must be in [0, 1)")

    def init(dim: int) -> dict[str, Array]:
        return {"df": jnp.zeros((dim,), jnp.float32), "batches": jnp.zeros((), jnp.float32)}

    def update(
        memory: dict[str, Array], values: Array, where: Array | None, axis_name: AxisName
    ) -> dict[str, Array]:
        batches = memory["batches"]
        keep = jnp.minimum(decay, batches / (batches + 1))
        df = keep * memory["df"] + (1 - keep) * active_share(values, where, axis_name)
        return {"df": df.astype(jnp.float32), "batches": batches + 1}

    return Memory(init, update)
