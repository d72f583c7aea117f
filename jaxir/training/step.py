"""One training step: pure functions of (state, batch), compiled over a mesh or run on one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxir.checks import InputError
from jaxir.objectives import Objective
from jaxir.training.mesh import AXES, Rules, param_shardings, replicated
from jaxir.types import Array, Batch, BatchReps, Encoder, Params

Metrics = dict[str, Array]


class State(NamedTuple):
    """All that a run carries from step to step. ``params`` has "encoder" and "objective"."""

    step: Array  # int32, optimiser steps done
    params: Params
    opt_state: Any
    ema: Params | None = None  # moving average of params, for evaluation


def init_params(encoder: Encoder, objective: Objective, key: Array) -> Params:
    """Parameters of both: {"encoder": ..., "objective": ...}."""
    first, second = jax.random.split(key)
    return {"encoder": encoder.init(first), "objective": objective.init(second)}


def init_state(
    encoder: Encoder,
    objective: Objective,
    tx: optax.GradientTransformation,
    key: Array,
    *,
    mesh: Mesh | None = None,
    rules: Rules = (),
    ema: bool = False,
) -> State:
    """The state at step 0, made where it will live: no device ever holds an unsharded copy."""

    def init(key: Array) -> State:
        params = init_params(encoder, objective, key)
        average = jax.tree.map(jnp.copy, params) if ema else None
        return State(jnp.zeros((), jnp.int32), params, tx.init(params), average)

    if mesh is None:
        return jax.jit(init)(key)
    shardings = state_shardings(jax.eval_shape(init, key), mesh, rules)
    return jax.jit(init, out_shardings=shardings)(key)


def state_shardings(shapes: State, mesh: Mesh, rules: Rules = ()) -> State:
    """Shardings of every leaf; an optimiser's moments lie like their parameters (same shape, rule)."""
    return param_shardings(shapes, mesh, rules=rules)


def encode_batch(encoder: Encoder, params: Params, batch: Batch, *, key: Array | None = None) -> BatchReps:
    """Encodes both sides; ``key`` present means training."""
    keys = (None, None) if key is None else jax.random.split(key)
    return BatchReps(
        encoder.encode(params, batch.query, side="query", key=keys[0]),
        encoder.encode(params, batch.docs, side="doc", key=keys[1]),
    )


def make_loss(
    encoder: Encoder, objective: Objective, mesh: Mesh | None = None
) -> Callable[..., tuple[Array, Metrics]]:
    """``loss(params, batch, *, step, key) -> (loss, metrics)`` of the global batch.

    The encoder runs under jit's automatic sharding; the objective runs inside ``shard_map``, where
    its collectives are explicit. Gradients are taken outside of it (inside, they would come out wrong
    by the number of devices).
    """

    def loss(params: Params, batch: Batch, *, step: Array | int = 0, key: Array | None = None):
        model_key, objective_key = (None, None) if key is None else jax.random.split(key)
        reps = encode_batch(encoder, params["encoder"], batch, key=model_key)

        def apply(objective_params, reps, batch, step, objective_key):
            return objective(
                reps,
                batch,
                params=objective_params,
                step=step,
                key=objective_key,
                axis_name=None if mesh is None else AXES,
            )

        arguments = (params["objective"], reps, batch, step, objective_key)
        if mesh is None:
            return apply(*arguments)
        rows, everywhere = PartitionSpec(AXES), PartitionSpec()
        specs = (everywhere, rows, rows, everywhere, everywhere)
        return jax.shard_map(apply, mesh=mesh, in_specs=specs, out_specs=everywhere)(*arguments)

    return loss


def make_train_step(
    encoder: Encoder,
    objective: Objective,
    tx: optax.GradientTransformation,
    *,
    seed: int = 0,
    mesh: Mesh | None = None,
    rules: Rules = (),
    accumulate: int = 1,
    ema_decay: float | None = None,
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """Compiles ``step(state, batch) -> (state, metrics)``. The given state's buffers are reused.

    The randomness of step t is ``fold_in(key(seed), t)``: nothing else, so that a resumed run draws
    the same numbers. ``accumulate=k`` splits the batch into k interleaved micro-batches, each with its
    own negatives, and averages their gradients: memory of a k-th, one optimiser step.

    Raises:
      InputError: a batch that k does not divide (when the step is first called).
    """
    loss = make_loss(encoder, objective, mesh)

    def gradients(params, batch, step, key):
        fn = jax.value_and_grad(loss, has_aux=True)
        if accumulate == 1:
            (value, metrics), grads = fn(params, batch, step=step, key=key)
            return grads, {"loss": value, **metrics}
        micro = jax.tree.map(lambda x: _interleave(x, accumulate), batch)

        def one(total, batch_and_key):
            (value, metrics), grads = fn(params, batch_and_key[0], step=step, key=batch_and_key[1])
            total = jax.tree.map(jnp.add, total, (grads, {"loss": value, **metrics}))
            return total, None

        keys = jax.random.split(key, accumulate)
        first = jax.tree.map(lambda x: x[0], (micro, keys))
        rest = jax.tree.map(lambda x: x[1:], (micro, keys))
        (value, metrics), grads = fn(params, first[0], step=step, key=first[1])
        total, _ = jax.lax.scan(one, (grads, {"loss": value, **metrics}), rest)
        return jax.tree.map(lambda x: x / accumulate, total)

    def train_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, metrics = gradients(state.params, batch, state.step, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema_decay is not None:
            # A plain average at first: a decay of 0.999 would hold the random start for 1,000 steps.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda old, new: old * decay + new * (1 - decay), ema, params)
        metrics["gradient_norm"] = optax.tree.norm(grads)
        return State(state.step + 1, params, opt_state, ema), metrics

    if mesh is None:
        return jax.jit(train_step, donate_argnums=0)
    compiled: dict[str, Callable] = {}

    def sharded_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        if not compiled:  # the state's tree is known at the first call
            shardings = state_shardings(state, mesh, rules)
            out = (shardings, replicated(mesh))
            compiled["step"] = jax.jit(train_step, donate_argnums=0, out_shardings=out)
        return compiled["step"](state, batch)

    return sharded_step


def _interleave(x: Array, k: int) -> Array:
    """[b, ...] -> [k, b / k, ...], row r to micro-batch r mod k, so that a sharded batch stays local."""
    if x.shape[0] % k:
        raise InputError(f"a batch of {x.shape[0]} cannot be split into {k} micro-batches")
    return jnp.swapaxes(x.reshape(x.shape[0] // k, k, *x.shape[1:]), 0, 1)
