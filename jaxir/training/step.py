"""One training step: pure functions of (state, batch), compiled over a mesh or run on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxir import trees
from jaxir.checks import InputError
from jaxir.objectives import Objective
from jaxir.training.gradients import Metrics, make_gradients
from jaxir.training.mesh import Rules, param_shardings, replicated
from jaxir.types import Array, Batch, Encoder, Params


class State(NamedTuple):
    """All that a run carries from step to step. ``params`` has "encoder" and "objective"."""

    step: Array  # int32, optimiser steps done
    params: Params
    opt_state: Any
    ema: Params | None = None  # moving average of the trained params, for evaluation
    memory: Any = None  # what the objective carries and does not learn; zeros at first, on every device alike


def init_params(encoder: Encoder, objective: Objective, key: Array) -> Params:
    """Parameters of both: {"encoder": ..., "objective": ...}."""
    first, second = jax.random.split(key)
    return {"encoder": encoder.init(first), "objective": objective.init(second)}


def is_trained(frozen: Sequence[str]) -> Callable[[str], bool]:
    """Whether the parameter of a path is trained: none of the ``frozen`` regexes is found in it."""
    held = trees.matches(frozen)
    return lambda name: not held(name)


def state_shapes(
    encoder: Encoder,
    objective: Objective,
    tx: optax.GradientTransformation,
    *,
    mesh: Mesh | None = None,
    rules: Rules = (),
    ema: bool = False,
    frozen: Sequence[str] = (),
) -> State:
    """The state as shapes with shardings; nothing is allocated. Optimiser and average: trained leaves only.

    Raises:
      InputError: a regex in ``frozen`` that matches nothing; or everything is frozen.
    """

    def make(key: Array) -> State:
        params = init_params(encoder, objective, key)
        trees.check_patterns(frozen, params)
        trained, _ = trees.split(params, is_trained(frozen))
        memory = objective.memory(encoder.dim) or None
        return State(jnp.zeros((), jnp.int32), params, tx.init(trained), trained if ema else None, memory)

    shapes = jax.eval_shape(make, jax.random.key(0))
    if not any(map(is_trained(frozen), trees.named(shapes.params))):
        raise InputError(f"frozen={tuple(frozen)} leaves nothing to train")
    if mesh is None:
        first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        places = jax.tree.map(lambda _: first, shapes)
    else:
        places = state_shardings(shapes, mesh, rules)
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, places)


def init_state(
    encoder: Encoder,
    objective: Objective,
    tx: optax.GradientTransformation,
    key: Array,
    *,
    mesh: Mesh | None = None,
    rules: Rules = (),
    ema: bool = False,
    frozen: Sequence[str] = (),
    given: Mapping[str, Array] | None = None,
) -> State:
    """The state at step 0, made where it will live: no device ever holds an unsharded copy.

    Args:
      frozen: path regexes of parameters that stay as they are, bit for bit; they get no optimiser state.
      given: parameters that do not start at random, by path ("encoder/trunk/..."), placed as
        :func:`state_shapes` says. They become the state's own: a training step reuses their memory.

    Raises:
      InputError: what ``state_shapes`` refuses; given parameters of other names or shapes.
    """
    shapes = state_shapes(encoder, objective, tx, mesh=mesh, rules=rules, ema=ema, frozen=frozen)
    given = dict(given or {})
    named = trees.named(shapes.params)
    check_given(given, named)
    at = jax.tree.map(lambda x: x.sharding, shapes)
    missing = lambda name: name not in given

    def fresh(key: Array) -> tuple[Array, Params]:
        return jnp.zeros((), jnp.int32), trees.split(init_params(encoder, objective, key), missing)[0]

    places = (at.step, trees.split(at.params, missing)[0])
    step, start = jax.jit(fresh, out_shardings=places)(key)
    given = {name: jax.device_put(x, named[name].sharding) for name, x in given.items()}
    params = trees.fill(trees.join(start, shapes.params), given)
    trained, _ = trees.split(params, is_trained(frozen))
    # A copy: a step reuses the memory of each part of the state, so that no two may share it.
    copied = lambda tree: jax.tree.map(jnp.copy, tree)
    opt_state = jax.jit(lambda x: tx.init(copied(x)), out_shardings=at.opt_state)(trained)
    average = jax.jit(copied, out_shardings=at.ema)(trained) if ema else None
    return State(step, params, opt_state, average, zeros(shapes.memory))


def zeros(shapes: Any) -> Any:
    """Arrays of zeros of these shapes, where their shardings say: a memory that has seen nothing."""
    if shapes is None:
        return None
    make = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.jit(make, out_shardings=jax.tree.map(lambda x: x.sharding, shapes))()


def check_given(given: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
    """Raises unless every given parameter is one of the model's, in its shape; lists the first others."""
    wrong = [
        f"{name} is {tuple(x.shape)}, expected "
        + (str(tuple(shapes[name].shape)) if name in shapes else "no such parameter")
        for name, x in given.items()
        if name not in shapes or tuple(x.shape) != tuple(shapes[name].shape)
    ]
    if wrong:
        raise InputError(f"{len(wrong)} given parameters do not fit the model: " + "; ".join(wrong[:5]))


def averaged(state: State) -> Params:
    """The parameters to evaluate: the moving averages where they are kept."""
    return state.params if state.ema is None else trees.join(state.ema, state.params)


def state_shardings(shapes: State, mesh: Mesh, rules: Rules = ()) -> State:
    """Shardings of every leaf; an optimiser's moments lie like their parameters (same shape, rule)."""
    everywhere = jax.tree.map(lambda _: replicated(mesh), shapes.memory)
    return param_shardings(shapes, mesh, rules=rules)._replace(memory=everywhere)


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
    frozen: Sequence[str] = (),
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """Compiles ``step(state, batch) -> (state, metrics)``. The given state's buffers are reused.

    The randomness of step t is ``fold_in(key(seed), t)``: nothing else, so that a resumed run draws
    the same numbers. ``accumulate=k`` splits the batch into k interleaved micro-batches, each with its
    own negatives, and averages their gradients: memory of a k-th, one optimiser step. No gradient is
    computed for parameters whose path matches one of ``frozen``, the same as in :func:`init_state`.

    Terms of representations (FLOPS and the like) see the whole batch also with ``accumulate``: see
    :func:`jaxir.training.gradients.make_gradients`. The objective's memory is renewed once per step.

    ``step.lower(state, batch)`` takes shapes with shardings too, to compile for a machine that is not here.

    Raises:
      InputError: a batch that k does not divide (when the step is first called).
    """
    gradients = make_gradients(encoder, objective, mesh, accumulate=accumulate)
    trains = is_trained(frozen)

    def train_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        trained, held = trees.split(state.params, trains)
        how = dict(step=state.step, key=key, memory=state.memory)
        grads, metrics, memory = gradients(trained, held, batch, **how)
        updates, opt_state = tx.update(grads, state.opt_state, trained)
        trained = optax.apply_updates(trained, updates)
        ema = state.ema
        if ema_decay is not None:
            # A plain average at first: a decay of 0.999 would hold the random start for 1,000 steps.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda old, new: old * decay + new * (1 - decay), ema, trained)
        metrics["gradient_norm"] = optax.tree.norm(grads)
        memory = None if state.memory is None else memory
        return State(state.step + 1, trees.join(trained, held), opt_state, ema, memory), metrics

    if mesh is None:
        return jax.jit(train_step, donate_argnums=0)
    compiled: dict[str, Callable] = {}

    def jitted(state: State) -> Any:
        if not compiled:  # the state's tree is known at the first call
            out = (state_shardings(state, mesh, rules), replicated(mesh))
            compiled["step"] = jax.jit(train_step, donate_argnums=0, out_shardings=out)
        return compiled["step"]

    def sharded_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        return jitted(state)(state, batch)

    sharded_step.lower = lambda state, batch: jitted(state).lower(state, batch)  # type: ignore[attr-defined]
    return sharded_step
