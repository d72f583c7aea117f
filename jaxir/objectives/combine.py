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

from jaxir import negatives, scoring
from jaxir.checks import InputError
from jaxir.config import Allow, accepts
from jaxir.losses.distillation import ensemble
from jaxir.objectives.objective import Objective
from jaxir.objectives.terms import OF_REPS, Term, learnable, parse
from jaxir.reduce import AxisName, masked_mean, over
from jaxir.types import Array, Batch, BatchReps, Params, Reps


def combine(
    terms: Mapping[str, Any], *, arrays: Mapping[str, Any] | None = None, allow: Allow = None
) -> Objective:
    """sum_i weight_i(step) * term_i, with every term's value in the metrics under its name.

    A term is ``dict(fn=..., on=..., weight=1.0, **arguments of fn)``. ``on`` says what it sees:

    - ``in_batch``: scores against the whole global batch; ``negatives=dict(...)`` are arguments of
      :func:`jaxir.negatives.in_batch` (``blocks``, ``other_positives``, ...), ``mode`` (dense, tiled or
      ring; by default :func:`jaxir.negatives.choose` decides by size) and ``tile``. Adds the metric
      ``NAME/top1``, the share of queries of which a positive scores higher than all other
      documents;
    - ``listed``: scores of the query's own n documents, with ``labels``, ``where`` and ``teacher``; where
      the data has several teachers, ``ensemble=dict(scale=30)`` makes one of them
      (:func:`jaxir.losses.ensemble`);
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
                value, extra = _of_scores(term, params, reps, batch, options, axis_name)
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
        temperature = _temperature(first, params)
        return found if temperature is None else found / temperature

    return Objective(init, apply, memory=memory, scores=first and scores)


def _temperature(term: Term, params: Params) -> Array | float | None:
    if not term.learned:
        return term.temperature
    return learnable(params[f"{term.name}_log_temperature"], **term.learned)


def _of_scores(
    term: Term,
    params: Params,
    reps: BatchReps,
    batch: Batch,
    options: dict[str, Any],
    axis_name: AxisName,
) -> tuple[Array, dict[str, Array]]:
    """The value of a term on scores, and more for the metrics."""
    query, docs = term.sees(reps.query.values), term.sees(reps.docs.values)
    extra: dict[str, Array] = {}
    temperature = _temperature(term, params)
    if term.learned:
        extra["temperature"] = temperature
    if term.on == "in_batch":
        scores, labels, where, more = _in_batch(term, temperature, query, docs, batch, axis_name)
        extra["top1"] = more.pop("top1")
        options.update(more)
    else:
        scores, labels, where = scoring.listed(query, docs, term.score), batch.labels, batch.where
        if accepts(term.fn, "teacher"):
            options["teacher"] = _teacher(term, batch)
        scores = scores if temperature is None else scores / temperature
    # jaxir's losses take the axis; rax's and others of its signature take a global reduction.
    if accepts(term.fn, "axis_name"):
        options["axis_name"] = axis_name
    else:
        options["reduce_fn"] = over(axis_name)
    return term.fn(scores, labels, where=where, **options), extra


def _teacher(term: Term, batch: Batch) -> Array:
    """[b, n]: the scores to learn from."""
    teacher = batch.teacher
    if teacher is None:
        raise InputError(
            f"term {term.name!r} learns from teacher scores and the batch has none: give the data a "
            "negatives file with scores, or remove the term"
        )
    if term.ensemble is not None:
        teacher = jnp.asarray(teacher if teacher.ndim > batch.where.ndim else teacher[..., None])
        return ensemble(teacher, where=jnp.asarray(batch.where), **term.ensemble)
    if teacher.ndim > batch.where.ndim:
        raise InputError(
            f"the data has scores of {teacher.shape[-1]} teachers, and term {term.name!r} learns from one: "
            "add ensemble=dict(scale=30) to it"
        )
    return teacher


def _in_batch(term, temperature, query, docs, batch, axis_name):
    """(scores over the temperature, labels, where, other arguments of the loss and top1)."""
    arguments = dict(
        labels=batch.labels,
        where=batch.where,
        doc_id=batch.doc_id,
        query_id=batch.query_id,
        known=batch.known,
        score=term.score,
        axis_name=axis_name,
        **term.negatives,
    )
    devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    many = devices * docs.shape[0] * docs.shape[1]
    mode = negatives.choose(len(query), many, docs.shape[-1], devices=devices, mode=term.mode).mode
    if mode == "dense":
        scores, labels, where = negatives.in_batch(query, docs, **arguments)
        first = many if "query_doc" in term.negatives.get("blocks", ("query_doc",)) else scores.shape[1]
        more = {"top1": _top1(scores[:, :first], labels[:, :first], where[:, :first], axis_name)}
        return scores if temperature is None else scores / temperature, labels, where, more
    both = accepts(term.fn, "columns")
    make = negatives.tiled if mode == "tiled" else negatives.ring
    temperature = 1.0 if temperature is None else temperature
    found = make(query, docs, **arguments, temperature=temperature, tile=term.tile, both=both)
    own = (x[:, :-1] for x in found[:3])
    more = {"top1": _top1(*own, axis_name, found.best)}
    if both:
        more["columns"] = found.columns
    return *found[:3], more


def _real_rows(batch: Batch) -> dict[str, Array]:
    return {"query": jnp.any(batch.where, axis=-1), "docs": jnp.asarray(batch.where)}


def _top1(scores, labels, where, axis_name, others=None) -> Array:
    """The share of lists of which a positive scores above all that is none, ``others`` [b] included."""
    scores, positive = jax.lax.stop_gradient(scores), labels > 0
    largest = lambda which: jnp.max(jnp.where(which, scores, -jnp.inf), axis=-1)
    best, rival, some = largest(where & positive), largest(where & ~positive), jnp.any(where, axis=-1)
    if others is not None:
        rival, some = jnp.maximum(rival, others), some | (others > -jnp.inf)
    return masked_mean((best > rival).astype(jnp.float32), some, axis_name)
