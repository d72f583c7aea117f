"""Encoder, objective and config -> the step that trains, for this machine or for one that is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from jaxir import trees
from jaxir.objectives import Objective, chunked, count_active
from jaxir.training.optimizer import make_optimizer, warmup_schedule
from jaxir.training.start import frozen_paths
from jaxir.training.step import State, init_params, is_trained, make_train_step, state_shapes
from jaxir.types import Encoder


class Assembled(NamedTuple):
    """``step(state, batch)``, and what a state for it is made from."""

    step: Callable[..., Any]
    tx: optax.GradientTransformation
    schedule: optax.Schedule  # learning rate of each optimiser step
    layout: dict[str, Any]  # how a state lies on the mesh: arguments of state_shapes and init_state
    state: State  # its shapes with their shardings


def assemble(
    config: Mapping[str, Any],
    encoder: Encoder,
    objective: Objective,
    mesh: Mesh | None,
    *,
    chunk: int | None = None,
) -> Assembled:
    """The training step of a config.

    Args:
      mesh: None = one device, without collectives.
      chunk: entries that a device encodes at a time, :func:`jaxir.training.sizes.encode_chunk`.
    """
    if encoder.kind in ("sparse", "hybrid"):
        dense = encoder.parts["dense"].dim if encoder.parts else 0
        objective = count_active(objective, start=dense)
    rules, decay, frozen = config["mesh"]["rules"], config["ema_decay"], frozen_paths(config)
    options = dict(config["optimizer"])
    options.pop("frozen")
    rate = {k: options.pop(k) for k in ("warmup", "decay", "final")}
    schedule = warmup_schedule(options.pop("learning_rate"), config["steps"], **rate)
    shapes = jax.eval_shape(lambda key: init_params(encoder, objective, key), jax.random.key(0))
    tx = make_optimizer(schedule, trees.split(shapes, is_trained(frozen))[0], **options)
    devices = 1 if mesh is None else mesh.size
    step = make_train_step(
        encoder if chunk is None else chunked(encoder, chunk, devices=devices),
        objective,
        tx,
        seed=config["seed"],
        mesh=mesh,
        rules=rules,
        accumulate=config["accumulate"],
        ema_decay=decay,
        frozen=frozen,
    )
    layout = dict(mesh=mesh, rules=rules, ema=decay is not None, frozen=frozen)
    return Assembled(step, tx, schedule, layout, state_shapes(encoder, objective, tx, **layout))
