"""Named terms -> one objective.

objective = combine(dict(
    rank=dict(fn="jaxir.losses:softmax", on="in_batch", temperature=0.02),
    distil=dict(fn="jaxir.losses:margin_mse", on="listed", weight=0.05),
    doc_flops=dict(fn="jaxir.losses:flops", on="docs",
                   weight=dict(fn="jaxir.losses:quadratic_ramp", peak=1e-4, steps=50_000)),
))
loss, metrics = objective(reps, batch, step=step, key=key)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxir.checks import InputError
from jaxir.config import Allow, accepts
from jaxir.objectives.objective import Objective
from jaxir.objectives.scored import temperature_of, value_of
from jaxir.objectives.terms import OF_REPS, Term, parse
from jaxir.types import Array, Batch, Params, Reps


def combine(
    terms: Mapping[str, Any], *, arrays: Mapping[str, Any] | None = None, allow: Allow = None
) -> Objective:
    """sum_i weight_i(step) * term_i, with every term's value in the metrics under its name.

    A term is ``dict(fn=..., on=..., weight=1.0, **arguments of fn)``. ``on`` says what it sees:

    - ``in_batch``: scores against the whole global batch; ``negatives=dict(...)`` are arguments of
      :func:`jaxir.negatives.in_batch` (``blocks``, ``other_positives``, ...), ``mode`` (dense, tiled or
      ring; by default :func:`jaxir.negatives.choose` decides by size) and ``tile``. Adds the metric
      ``NAME/top1``, the share of queries of which a positive scores higher than all other
      documents. A loss that takes a ``teacher`` gets the scores of the encoder's frozen teacher
      (:func:`jaxir.models.taught.with_teacher`) in the same columns;
    - ``listed``: scores of the query's own n documents, with ``labels``, ``where`` and ``teacher``; where
      the data has several teachers, ``ensemble=dict(scale=30)`` makes one of them
      (:func:`jaxir.losses.ensemble`). Adds the metrics ``NAME/without_positive``, the share of lists that
      have none, and, for losses of a teacher, ``NAME/unscored``: the share of candidates without its score
      (NaN), which are masked. ``labels="teacher"`` puts the teacher's scores in the labels' place, for losses
      of an order (``list_mle``, ``weighted_ranknet``, ``ranklist``, rax's);
    - ``query``, ``docs``: that side's representations, of the whole batch also with micro-batches.
      ``memory=dict(fn="jaxir.objectives:running_df", ...)`` carries something from step to step
      (:class:`jaxir.objectives.Memory`).

    ``weight`` is a number or a schedule of the optimiser step. ``temperature`` divides the scores: a
    number, or ``dict(init=0.05, min=0.01)`` for a learnable one. ``score`` is ``dot`` or ``cosine``.
    ``columns=(start, stop)``: the slice of the representations' last axis that the term sees; a stop of None
    is the end.
    The loss and the metrics are those of the global batch on every device.

    Args:
      arrays: what cannot stand in a config, by name: ``{"idf": ...}`` is given to each term whose function
        has an argument ``idf``.

    Raises:
      InputError: no terms, an unknown ``on`` or argument, a term without ``fn``, an argument missing.
    """
    if not terms:
        raise InputError("the objective has no terms; give at least dict(rank=dict(fn=..., on=...))")
    # Of numpy: constants of a program on whatever devices it is for.
    arrays = {name: np.asarray(x) for name, x in (arrays or {}).items()}
    parsed = [parse(name, spec, arrays, allow) for name, spec in terms.items()]
    whole = _objective(parsed, range(len(parsed)))
    of_reps = [i for i, term in enumerate(parsed) if term.on in OF_REPS]
    if not of_reps:
        return whole
    of_scores = [i for i, term in enumerate(parsed) if term.on not in OF_REPS]
    return dataclasses.replace(whole, parts=(_objective(parsed, of_scores), _objective(parsed, of_reps)))


def _objective(terms: list[Term], chosen: Any) -> Objective:
    """The sum of the terms of these numbers."""

    def init(key: Array) -> Params:
        del key
        return {
            f"{t.name}_log_temperature": jnp.log(jnp.asarray(t.learned["init"], jnp.float32))
            for t in terms
            if t.learned
        }

    def memory(dim: int) -> dict[str, dict[str, Array]]:
        return {t.name: t.memory.init(t.width(dim)) for t in (terms[i] for i in chosen) if t.memory}

    start = memory

    def apply(params, reps, batch, *, step=0, key=None, axis_name=None, memory=None):
        loss = jnp.zeros((), jnp.float32)
        metrics: dict[str, Array] = {}
        memory = dict(memory or start(reps.docs.values.shape[-1]))
        for i in chosen:
            term = terms[i]
            term_key = None if key is None else jax.random.fold_in(key, i)
            options = {name: jnp.asarray(x) for name, x in term.arrays.items()}
            if accepts(term.fn, "key"):
                options["key"] = term_key
            if term.on in OF_REPS:
                values, where = term.sees(getattr(reps, term.on).values), _real_rows(batch)[term.on]
                if term.memory:
                    held = jax.lax.stop_gradient(values)
                    kept = memory[term.name] = term.memory.update(memory[term.name], held, where, axis_name)
                    options.update({name: x for name, x in kept.items() if accepts(term.fn, name)})
                value, extra = term.fn(values, where=where, axis_name=axis_name, **options), {}
            else:
                value, extra = value_of(term, params, reps, batch, options, axis_name)
            weight = term.weight(step) if callable(term.weight) else term.weight
            loss = loss + weight * value
            metrics[term.name] = value
            metrics.update({f"{term.name}/{k}": v for k, v in extra.items()})
            if callable(term.weight):
                metrics[f"{term.name}/weight"] = weight
        return loss, metrics, memory

    first = next((t for t in (terms[i] for i in chosen) if t.on == "in_batch"), None)

    def scores(params: Params, query: Reps, docs: Reps) -> Array:
        found = first.score(first.sees(query.values), first.sees(docs.values))
        temperature = temperature_of(first, params)
        return found if temperature is None else found / temperature

    return Objective(init, apply, memory=memory, scores=first and scores)


def _real_rows(batch: Batch) -> dict[str, Array]:
    return {"query": jnp.any(batch.where, axis=-1), "docs": jnp.asarray(batch.where)}
