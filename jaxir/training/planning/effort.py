"""The matrix products of a step by what they are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jaxir.training.gradients import encode_batch, make_loss
from jaxir.training.planning.flops import Work, count
from jaxir.training.planning.step import Step, batch_shapes
from jaxir.types import Array, BatchReps, Side, Tokens


class Effort(NamedTuple):
    """Matrix products of a step, over all chips."""

    forward: Work  # encoding both sides once
    backward: Work  # the encoder's gradients
    again: Work  # what the backward pass computes a second time, to keep less
    objective: Work  # scores, loss and their gradients

    @property
    def total(self) -> Work:
        return sum(self, Work())


def effort_of(config: Mapping[str, Any], described: Step) -> Effort:
    """Counts the step, its forward pass and its objective, each traced for itself.

    A product's gradient is two products, so what is left after three times the forward pass is computed
    again. With frozen weights or adapters this does not hold, and all that is left counts as backward.
    """
    state, encoder = described.state, described.encoder
    params, parts = state.params, config["accumulate"]
    batch = batch_shapes({**config, "batch_size": config["batch_size"] // parts}, described.mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    loss = make_loss(encoder._replace(encode=_given), described.objective, described.mesh)

    def encode(params: Any, batch: Any, key: Array) -> BatchReps:
        return encode_batch(encoder, params, batch, layers=described.objective.layers, key=key)

    def score(objective: Any, reps: BatchReps, batch: Any, step: Array, key: Array) -> Any:
        def value(objective: Any, reps: BatchReps) -> Array:
            return loss({"encoder": reps, "objective": objective}, batch, step=step, key=key)[0]

        return jax.grad(value, argnums=(0, 1))(objective, reps)

    whole = count(described.step, state, described.batch)
    forward = count(encode, params["encoder"], batch, key).times(parts)
    reps = jax.eval_shape(encode, params["encoder"], batch, key)
    objective = count(score, params["objective"], reps, batch, state.step, key).times(parts)
    rest = whole - forward - objective
    partial = config["optimizer"]["frozen"] or config["lora"]["rank"]
    backward = rest if partial else Work(*map(min, rest, forward.times(2)))
    return Effort(forward, backward, rest - backward, objective)


def _given(params: Any, tokens: Tokens, *, side: Side, key: Array | None = None, **_: Any) -> Any:
    """An encoder whose parameters are the encoded batch: what is left of the step is the objective."""
    name = "query" if side == "query" else "docs"
    return getattr(params, name) if isinstance(params, BatchReps) else tuple(getattr(p, name) for p in params)
