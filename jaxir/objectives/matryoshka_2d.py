"""2D Matryoshka: a layer and a width drawn anew at each step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxir.checks import InputError, check_known, check_positive
from jaxir.objectives.alignment import kl_of_both_sides
from jaxir.objectives.nesting import check_sizes, check_weight, small, widths
from jaxir.objectives.objective import Objective
from jaxir.types import Array, BatchReps, Encoder, Reps

WEIGHTS = {
    "uniform": lambda layer: 1.0,
    "log": lambda layer: 1 / (1 + math.log(1 + layer)),
    "linear": lambda layer: 1 / (1 + layer),
}
READINGS = {"detached": ("uniform", True), "joint": ("linear", False)}
"""Name -> (weights of the layers, whether the last layer is a teacher without gradient)."""


def matryoshka_2d(
    objective: Objective,
    *,
    encoder: Encoder,
    dims: Any,
    reading: str = "detached",
    layer_weights: str | None = None,
    kl_weight: float = 1.0,
    kl_temperature: float = 0.3,
) -> Objective:
    r"""L = L(last, d) + w(l) L(l, d') + lambda t KL(softmax(e_last / t) || softmax(e_l / t)).

    In each step a layer l below the last one and two widths d, d' of ``dims`` are drawn, from the step's key
    (each micro-batch draws for itself). The divergence runs over the coordinates of the whole vectors e, as
    if they were logits; mean over queries, mean over documents, and the mean of the two. Without a key (in
    evaluation) nothing is drawn: the last layer at its largest width. Two readings are found:

    - ``detached``: all layers weigh 1, and the last layer gets no gradient from the divergence;
    - ``joint``: layer l weighs 1 / (1 + l), and it does.

    The embeddings' output, which some implementations draw as a layer 0, is not one here.

    Args:
      encoder: whose representations they are.
      dims: widths to draw from, a sequence of whole numbers, ascending (active terms of a sparse encoder);
        list the full one too.
      reading: ``detached`` or ``joint``.
      layer_weights: w by name, ``uniform``, ``log`` 1 / (1 + ln(1 + l)) or ``linear``; None = the reading's.
      kl_weight: lambda; 0 = none.
      kl_temperature: t.

    Raises:
      InputError: widths unsorted, repeated or beyond the encoder's; an encoder of fewer than two layers, or
        that is not dense while kl_weight is not 0; an unknown name; an objective with a memory.

    References: Li et al. 2024 (arXiv:2402.14776).
    """
    sizes = widths(dims)
    check_sizes(objective, encoder, sizes)
    check_known("reading", reading, READINGS)
    check_positive("kl_temperature", kl_temperature)
    named, detached = READINGS[reading]
    check_known("layer_weights", layer_weights or named, WEIGHTS)
    check_weight("kl_weight", kl_weight)
    if encoder.layers < 2:
        raise InputError(f"an encoder of {encoder.layers} layers has none below the last: use matryoshka")
    if kl_weight and encoder.kind != "dense":
        raise InputError(
            f"the divergence of 2D Matryoshka is for dense encoders, this one is {encoder.kind}: kl_weight=0"
        )
    if objective.memory(encoder.dim):
        raise InputError("an objective with a memory has no one batch to remember where sizes are drawn")
    dims = tuple(size.dims for size in sizes)
    below = tuple(range(1, encoder.layers))
    # Of numpy: constants of a program on whatever devices it is for.
    shares = np.array([WEIGHTS[layer_weights or named](layer) for layer in below], np.float32)

    def wrap(inner: Objective, aligned: bool) -> Objective:
        def apply(params, reps, batch, *, key=None, axis_name=None, memory=None, **how):
            how = dict(how, axis_name=axis_name, memory=None)
            if key is None:
                return inner.apply(params, small(reps[-1], dims[-1], encoder), batch, key=None, **how)
            keys = jax.random.split(key, 5)
            pick = jax.random.randint(keys[0], (), 0, len(below))
            lower = jax.tree.map(lambda *x: jnp.stack(x)[pick], *reps[:-1])
            widths = [jax.random.randint(k, (), 0, len(dims)) for k in keys[1:3]]
            at_last, at_lower = (_drawn(x, i, dims, encoder) for x, i in zip((reps[-1], lower), widths))
            loss, metrics, _ = inner.apply(params, at_last, batch, key=keys[3], **how)
            value, more, _ = inner.apply(params, at_lower, batch, key=keys[4], **how)
            loss = loss + jnp.asarray(shares)[pick] * value
            metrics = metrics | {f"lower/{k}": v for k, v in more.items()}
            metrics["layer"] = 1.0 + pick
            if aligned and kl_weight:
                last = jax.lax.stop_gradient(reps[-1]) if detached else reps[-1]
                how = dict(temperature=kl_temperature, axis_name=axis_name)
                value = kl_of_both_sides(lower, last, batch, **how)
                loss = loss + kl_weight * kl_temperature * value
                metrics["kl"] = value
            return loss, metrics, {}

        parts = inner.parts and (wrap(inner.parts[0], aligned), wrap(inner.parts[1], False))
        return dataclasses.replace(inner, apply=apply, layers=(*below, encoder.layers), parts=parts)

    return wrap(objective, True)


def _drawn(reps: BatchReps, index: Array, dims: Sequence[int], encoder: Encoder) -> BatchReps:
    """Both sides at the width of a drawn number, zeros beyond: the scores are those of the prefix."""

    def branch(d: int):
        def cut(values: tuple[Array, Array]) -> tuple[Array, Array]:
            found = small(BatchReps(*map(Reps, values)), d, encoder)
            return tuple(_widened(x.values, old.shape[-1]) for x, old in zip(found, values))

        return cut

    values = jax.lax.switch(index, [branch(d) for d in dims], (reps.query.values, reps.docs.values))
    return BatchReps(*(side._replace(values=x) for side, x in zip(reps, values)))


def _widened(x: Array, width: int) -> Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])
