"""Starbucks: a fixed list of (layers, dimensions), each trained and drawn to the full model."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxir.checks import InputError, check_known
from jaxir.objectives.alignment import kl_of_both_sides, kl_of_scores
from jaxir.objectives.matryoshka import nested
from jaxir.objectives.nesting import check_weight, pairs, small
from jaxir.objectives.objective import Objective
from jaxir.reduce import AxisName
from jaxir.types import Array, Batch, BatchReps, Encoder, Params

KL = ("scores", "coordinates")


def starbucks(
    objective: Objective,
    *,
    encoder: Encoder,
    sizes: Any,
    kl_weight: float = 1.0,
    kl: str = "scores",
    weights: Any = None,
) -> Objective:
    r"""L = sum_i c_i L(S_i) + kappa sum_{i < last} KL(full || S_i), over sizes S_i = (layers, dimensions).

    One forward pass gives all layers; the last size, as a rule the full model, is the teacher. Sums are not
    divided by the number of sizes. The divergences are those of :mod:`jaxir.objectives.alignment`:

    - ``kl="scores"``, for retrieval: over the documents of the global batch, softmax of the objective's own
      in-batch scores, temperature included; the full model gets no gradient from it;
    - ``kl="coordinates"``, for similarity: over the coordinates of queries and of documents (their mean),
      against the first d dimensions of the full model's, which does get a gradient, as in the paper's code
      (with kl_weight=0.3 there). Normalised where the encoder is.

    Args:
      encoder: whose representations they are.
      sizes: pairs (number of blocks, dimensions; active terms of a sparse encoder) from small to large.
      kl_weight: kappa; 0 = none.
      weights: c_i; None = 1 each.

    Raises:
      InputError: sizes that are unsorted, repeated or beyond the encoder; an objective without in-batch
        scores for ``kl="scores"``; coordinates of a sparse encoder.

    References: Zhuang et al. 2024 (arXiv:2410.13230).
    """
    check_known("kl", kl, KL)
    check_weight("kl_weight", kl_weight)
    sizes = pairs(sizes)
    if kl == "scores" and kl_weight and objective.scores is None:
        raise InputError(
            "kl='scores' needs a term on='in_batch', whose scores are compared: kl_weight=0 goes without"
        )
    if kl == "coordinates" and kl_weight and encoder.kind != "dense":
        raise InputError(
            f"kl='coordinates' is for dense encoders, this one is {encoder.kind}: use kl='scores'"
        )
    plain = nested(objective, encoder, sizes, weights)
    if not kl_weight or len(sizes) == 1:
        return plain

    def divergence(
        params: Params, student: BatchReps, full: BatchReps, batch: Batch, axis_name: AxisName
    ) -> Array:
        if kl == "coordinates":
            first = small(full, student.docs.values.shape[-1], encoder)
            return kl_of_both_sides(student, first, batch, axis_name=axis_name)
        scores = lambda query, docs: objective.scores(params, query, docs)
        return kl_of_scores(scores, student, full, batch, axis_name=axis_name)

    def with_divergences(inner: Objective) -> Objective:
        def apply(params, reps, batch, *, axis_name=None, **how):
            loss, metrics, memory = inner.apply(params, reps, batch, axis_name=axis_name, **how)
            seen = [small(reps[inner.layers.index(s.layer)], s.dims, encoder) for s in sizes]
            total = jnp.zeros((), jnp.float32)
            for size, student in zip(sizes[:-1], seen):
                value = divergence(params, student, seen[-1], batch, axis_name)
                metrics[f"{size}/kl"] = value
                total = total + value
            return loss + kl_weight * total, metrics, memory

        # They are terms of scores: micro-batches have their own.
        parts = inner.parts and (with_divergences(inner.parts[0]), inner.parts[1])
        return dataclasses.replace(inner, apply=apply, parts=parts)

    return with_divergences(plain)
