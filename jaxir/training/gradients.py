"""Loss and gradients of a batch, whole or in micro-batches, on one device or over a mesh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from jaxir import trees
from jaxir.checks import InputError
from jaxir.objectives import Objective
from jaxir.training.mesh import AXES
from jaxir.types import Array, Batch, BatchReps, Encoder, Params

Metrics = dict[str, Array]


def encode_batch(
    encoder: Encoder,
    params: Params,
    batch: Batch,
    *,
    layers: Sequence[int] | None = None,
    key: Array | None = None,
) -> BatchReps | tuple[BatchReps, ...]:
    """Encodes both sides; ``key`` present means training. With ``layers``, a BatchReps for each of them."""
    keys = (None, None) if key is None else jax.random.split(key)
    how = {} if layers is None else {"layers": tuple(layers)}
    query = encoder.encode(params, batch.query, side="query", key=keys[0], **how)
    docs = encoder.encode(params, batch.docs, side="doc", key=keys[1], **how)
    return BatchReps(query, docs) if layers is None else tuple(map(BatchReps, query, docs))


def on_mesh(objective: Objective, mesh: Mesh | None) -> Callable[..., tuple[Array, Metrics, Any]]:
    """``(params, reps, batch, step, key, memory) -> (loss, metrics, memory)`` of the global batch.

    The objective runs inside ``shard_map``, where its collectives are explicit. Gradients are taken outside
    of it (inside, they would come out wrong by the number of devices).
    """

    def apply(params, reps, batch, step, key, memory):
        axes = None if mesh is None else AXES
        return objective.apply(params, reps, batch, step=step, key=key, axis_name=axes, memory=memory)

    if mesh is None:
        return apply
    rows, everywhere = PartitionSpec(AXES), PartitionSpec()
    specs = (everywhere, rows, rows, everywhere, everywhere, everywhere)
    return jax.shard_map(apply, mesh=mesh, in_specs=specs, out_specs=everywhere)


def make_loss(
    encoder: Encoder, objective: Objective, mesh: Mesh | None = None
) -> Callable[..., tuple[Array, Metrics]]:
    """``loss(params, batch, *, step, key, memory) -> (loss, metrics)`` of the global batch.

    The encoder runs under jit's automatic sharding, the objective as :func:`on_mesh` says.
    """
    apply = on_mesh(objective, mesh)

    def loss(
        params: Params,
        batch: Batch,
        *,
        step: Array | int = 0,
        key: Array | None = None,
        memory: Any = None,
    ) -> tuple[Array, Metrics]:
        model_key, objective_key = _keys(key)
        reps = encode_batch(encoder, params["encoder"], batch, layers=objective.layers, key=model_key)
        return apply(params["objective"], reps, batch, step, objective_key, memory)[:2]

    return loss


def make_gradients(
    encoder: Encoder, objective: Objective, mesh: Mesh | None = None, *, accumulate: int = 1
) -> Callable[..., tuple[Params, Metrics, Any]]:
    """``gradients(trained, held, batch, *, step, key, memory) -> (gradients, metrics, memory)``.

    ``trained`` and ``held`` are the two parts of the parameters, of which only the first is derived for;
    the metrics have the loss.

    ``accumulate=k`` computes k interleaved micro-batches one after another and averages: the activations of
    a k-th. Terms of scores have the negatives of their micro-batch. Terms of representations see the whole
    batch all the same: it is encoded once without gradients, they are derived for its representations, and
    each micro-batch carries its rows of that gradient back through the encoder. That takes one forward pass
    more and the memory of a batch's representations, where there are such terms.

    Raises:
      InputError: a batch that k does not divide; an objective with a memory and no parts, and k above 1 (both
        when it is first called).
    """
    if accumulate > 1:
        return _in_micro_batches(encoder, objective, mesh, accumulate)
    apply = on_mesh(objective, mesh)

    def gradients(trained, held, batch, *, step, key, memory=None):
        model_key, objective_key = _keys(key)

        def loss(trained):
            params = trees.join(trained, held)
            reps = encode_batch(encoder, params["encoder"], batch, layers=objective.layers, key=model_key)
            value, metrics, new = apply(params["objective"], reps, batch, step, objective_key, memory)
            return value, ({"loss": value, **metrics}, new)

        (_, (metrics, new)), grads = jax.value_and_grad(loss, has_aux=True)(trained)
        return grads, metrics, new

    return gradients


def _in_micro_batches(
    encoder: Encoder, objective: Objective, mesh: Mesh | None, k: int
) -> Callable[..., tuple[Params, Metrics, Any]]:
    of_scores, of_reps = objective.parts or (objective, None)
    layers = objective.layers
    apply, apply_whole = on_mesh(of_scores, mesh), of_reps and on_mesh(of_reps, mesh)

    def gradients(trained, held, batch, *, step, key, memory=None):
        if memory and of_reps is None:
            raise InputError("this objective has a memory and no parts: it cannot be accumulated")
        _, whole_key = _keys(key)
        keys = jax.random.split(key, k)
        micro = jax.tree.map(lambda x: _interleave(x, k), batch)
        slopes, metrics = None, {}
        if apply_whole:
            params = trees.join(trained, held)

            def encode(batch_and_key):
                mine, key = batch_and_key
                return encode_batch(encoder, params["encoder"], mine, layers=layers, key=_keys(key)[0])

            reps = jax.tree.map(_join, jax.lax.map(encode, (micro, keys)))

            def whole(values):
                seen = _with_values(reps, values)
                value, metrics, new = apply_whole(params["objective"], seen, batch, step, whole_key, memory)
                return value, ({"loss": value, **metrics}, new)

            found = jax.value_and_grad(whole, has_aux=True)(_values(reps))
            (_, (metrics, memory)), slopes = found
            slopes = jax.tree.map(lambda x: _interleave(x, k), slopes)

        def one(mine, slope, key):
            model_key, objective_key = _keys(key)

            def loss(trained):
                params = trees.join(trained, held)
                reps = encode_batch(encoder, params["encoder"], mine, layers=layers, key=model_key)
                value, metrics, _ = apply(params["objective"], reps, mine, step, objective_key, None)
                metrics = {"loss": value, **metrics}
                if slope is not None:
                    # Its gradient is that of the whole batch's terms; k, because an average is taken.
                    value = value + k * sum(map(jnp.vdot, _values(reps), slope))
                return value, metrics

            (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(trained)
            return grads, metrics

        first, rest = (
            jax.tree.map(lambda x, at=at: x[at], (micro, slopes, keys)) for at in (0, slice(1, None))
        )
        add = lambda total, part: (jax.tree.map(jnp.add, total, one(*part)), None)
        total, _ = jax.lax.scan(add, one(*first), rest)
        grads, average = jax.tree.map(lambda x: x / k, total)
        loss = average["loss"] + metrics.get("loss", 0)
        return grads, {**average, **metrics, "loss": loss}, memory

    return gradients


def _keys(key: Array | None) -> tuple[Array | None, Array | None]:
    """The encoder's and the objective's."""
    return (None, None) if key is None else tuple(jax.random.split(key))


def _values(reps: BatchReps | tuple[BatchReps, ...]) -> tuple[Array, ...]:
    """What is derived for: of all layers, without masks."""
    return tuple(side.values for layer in _layers(reps) for side in layer)


def _with_values(
    reps: BatchReps | tuple[BatchReps, ...], values: tuple[Array, ...]
) -> BatchReps | tuple[BatchReps, ...]:
    given = iter(values)
    new = tuple(BatchReps(*(side._replace(values=next(given)) for side in layer)) for layer in _layers(reps))
    return new[0] if isinstance(reps, BatchReps) else new


def _layers(reps: BatchReps | tuple[BatchReps, ...]) -> tuple[BatchReps, ...]:
    return (reps,) if isinstance(reps, BatchReps) else reps


def _interleave(x: Array, k: int) -> Array:
    """[b, ...] -> [k, b / k, ...], row r to micro-batch r mod k, so that a sharded batch stays local."""
    if x.shape[0] % k:
        raise InputError(f"a batch of {x.shape[0]} cannot be split into {k} micro-batches")
    return jnp.swapaxes(x.reshape(x.shape[0] // k, k, *x.shape[1:]), 0, 1)


def _join(x: Array) -> Array:
    """[k, b / k, ...] -> [b, ...], the rows as they were."""
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
