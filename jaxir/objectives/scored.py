"""The value of a term on scores: of the own list, or of the whole batch."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp

from jaxir import negatives, scoring
from jaxir.checks import InputError
from jaxir.config import accepts
from jaxir.losses.distillation import ensemble
from jaxir.objectives.terms import Term, learnable
from jaxir.reduce import AxisName, masked_mean, over
from jaxir.types import Array, Batch, BatchReps, Params


def temperature_of(term: Term, params: Params) -> Array | float | None:
    if not term.learned:
        return term.temperature
    return learnable(params[f"{term.name}_log_temperature"], **term.learned)


def value_of(
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
    temperature = temperature_of(term, params)
    if term.learned:
        extra["temperature"] = temperature
    if term.on == "in_batch":
        scores, labels, where, more = _in_batch(term, temperature, query, docs, batch, axis_name)
        extra["top1"] = more.pop("top1")
        options.update(more)
        if accepts(term.fn, "teacher"):
            options["teacher"] = _taught_in_batch(term, reps, batch, axis_name)
    else:
        scores, labels, where = scoring.listed(query, docs, term.score), batch.labels, batch.where
        some = jnp.any(where & (labels > 0), axis=-1)
        extra["without_positive"] = masked_mean(1.0 - some, jnp.any(where, axis=-1), axis_name)
        if accepts(term.fn, "teacher") or term.labels == "teacher":
            teacher = _teacher(term, reps, batch)
            if teacher is not None:
                known = jnp.isfinite(teacher)
                extra["unscored"] = masked_mean(1.0 - known, where, axis_name)
                where, teacher = where & known, jnp.where(known, teacher, 0)
                if term.labels == "teacher":
                    labels = jax.lax.stop_gradient(teacher)
                else:
                    options["teacher"] = teacher
        scores = scores if temperature is None else scores / temperature
    # jaxir's losses take the axis; rax's and others of its signature take a global reduction.
    if accepts(term.fn, "axis_name"):
        options["axis_name"] = axis_name
    else:
        options["reduce_fn"] = over(axis_name)
    return term.fn(scores, labels, where=where, **options), extra


def _teacher(term: Term, reps: BatchReps, batch: Batch) -> Array | None:
    """[b, n]: the scores to learn from; None where there are none and the loss can do without."""
    if reps.query.teacher is not None:
        return scoring.listed(reps.query.teacher, reps.docs.teacher)
    teacher = batch.teacher
    if teacher is None:
        if not _needs_teacher(term):
            return None
        raise InputError(
            f"term {term.name!r} learns from teacher scores and the batch has none: give the data a "
            "negatives file with scores, set teacher to a model, or remove the term"
        )
    if term.ensemble is not None:
        teacher = jnp.asarray(teacher if teacher.ndim > batch.where.ndim else teacher[..., None])
        known = jnp.all(jnp.isfinite(teacher), axis=-1)
        one = ensemble(jnp.nan_to_num(teacher), where=jnp.asarray(batch.where) & known, **term.ensemble)
        return jnp.where(known, one, jnp.nan)
    if teacher.ndim > batch.where.ndim:
        raise InputError(
            f"the data has scores of {teacher.shape[-1]} teachers, and term {term.name!r} learns from one: "
            "add ensemble=dict(scale=30) to it"
        )
    return jnp.asarray(teacher)


def _taught_in_batch(term: Term, reps: BatchReps, batch: Batch, axis_name: AxisName) -> Array | None:
    """[b, columns]: the frozen teacher's scores of what the term sees of the batch."""
    if reps.query.teacher is None:
        if not _needs_teacher(term):
            return None
        raise InputError(
            f"term {term.name!r} learns from a teacher's scores of the whole batch, which no file has: set "
            "teacher to a model (--config.teacher=PATH), or on='listed'"
        )
    arguments = _candidates(term, batch, axis_name) | dict(score=scoring.dot)
    return negatives.in_batch(reps.query.teacher, reps.docs.teacher, **arguments).scores


def _needs_teacher(term: Term) -> bool:
    if term.labels == "teacher":
        return True
    parameter = inspect.signature(term.fn).parameters.get("teacher")
    return parameter is not None and parameter.default is parameter.empty


def _candidates(term: Term, batch: Batch, axis_name: AxisName) -> dict[str, Any]:
    """Arguments of :func:`jaxir.negatives.in_batch` and its kin."""
    return dict(
        labels=batch.labels,
        where=batch.where,
        doc_id=batch.doc_id,
        query_id=batch.query_id,
        known=batch.known,
        score=term.score,
        axis_name=axis_name,
        **term.negatives,
    )


def _in_batch(term, temperature, query, docs, batch, axis_name):
    """(scores over the temperature, labels, where, other arguments of the loss and top1)."""
    arguments = _candidates(term, batch, axis_name)
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


def _top1(scores, labels, where, axis_name, others=None) -> Array:
    """The share of lists of which a positive scores above all that is none, ``others`` [b] included."""
    scores, positive = jax.lax.stop_gradient(scores), labels > 0
    largest = lambda which: jnp.max(jnp.where(which, scores, -jnp.inf), axis=-1)
    best, rival, some = largest(where & positive), largest(where & ~positive), jnp.any(where, axis=-1)
    if others is not None:
        rival, some = jnp.maximum(rival, others), some | (others > -jnp.inf)
    return masked_mean((best > rival).astype(jnp.float32), some, axis_name)
