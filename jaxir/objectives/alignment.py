"""How far small representations are from the full ones, as divergences over a batch."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxir import negatives
from jaxir.losses.distillation import kl_divergence
from jaxir.reduce import AxisName, masked_mean
from jaxir.types import Array, Batch, BatchReps, Reps

Scores = Callable[[Reps, Reps], Array]


def kl_of_scores(
    scores: Scores,
    student: BatchReps,
    teacher: BatchReps,
    batch: Batch,
    *,
    axis_name: AxisName = None,
    tile: int = negatives.TILE,
    mode: str | None = None,
) -> Array:
    r"""Mean over queries of KL(p_teacher || p_student), p = softmax over all documents of the global batch.

    ``scores(query [b, ...], docs [m, ...]) -> [b, m]`` of representations, the temperature included.
    Documents that only fill lists take no part, whatever stands in them. The teacher gets no gradient. Where
    the matrix of scores is large it is walked in tiles and computed again for the gradient, as
    :func:`jaxir.negatives.choose` decides; the documents of all devices are gathered in any case.

    References: Zhuang et al. 2024, Starbucks (arXiv:2410.13230).
    """
    where = jnp.asarray(batch.where)
    rows, real = jnp.any(where, axis=-1), where.reshape(-1)
    both = student, jax.lax.stop_gradient(teacher)
    queries = tuple(_only(x.query, rows) for x in both)
    docs = tuple(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), _only(x.docs, where)) for x in both)
    if axis_name is not None:
        docs, real = jax.tree.map(lambda x: jax.lax.all_gather(x, axis_name, tiled=True), (docs, real))
    if negatives.choose(len(rows), len(real), docs[1].values.shape[-1], mode=mode).mode == "dense":
        small, full = (scores(q, d) for q, d in zip(queries, docs))
        where = rows[:, None] & real[None]
        return kl_divergence(small, teacher=full, where=where, axis_name=axis_name)
    return masked_mean(_streamed(scores, queries, docs, real, tile), rows, axis_name)


def kl_of_coordinates(
    student: Array,
    teacher: Array,
    where: Array | None = None,
    *,
    temperature: float = 1.0,
    axis_name: AxisName = None,
) -> Array:
    r"""Mean over texts of KL(softmax(teacher / t) || softmax(student / t)), softmax over the coordinates.

    A vector's coordinates stand for logits, as in 2D Matryoshka (arXiv:2402.14776) and Starbucks for
    similarity (arXiv:2410.13230). Gradients reach both; stop the teacher's where that is wanted.

    Args:
      student, teacher: [..., d].
      where: [...] True = real.
    """
    if where is not None:  # selected before anything is computed: 0 times NaN would be a NaN gradient
        student, teacher = (jnp.where(where[..., None], x, 0) for x in (student, teacher))
    log_s, log_t = (jax.nn.log_softmax(x / temperature, axis=-1) for x in (student, teacher))
    return masked_mean(jnp.sum(jnp.exp(log_t) * (log_t - log_s), axis=-1), where, axis_name)


def kl_of_both_sides(
    student: BatchReps,
    teacher: BatchReps,
    batch: Batch,
    *,
    temperature: float = 1.0,
    axis_name: AxisName = None,
) -> Array:
    """The mean of :func:`kl_of_coordinates` of the batch's queries and of its documents."""
    listed = jnp.asarray(batch.where)
    real = (jnp.any(listed, axis=-1), listed)
    how = dict(temperature=temperature, axis_name=axis_name)
    values = [
        kl_of_coordinates(s.values, t.values, where, **how) for s, t, where in zip(student, teacher, real)
    ]
    return sum(values) / len(values)


def _only(reps: Reps, where: Array) -> Reps:
    """The real ones, zeros elsewhere."""
    wide = where.reshape(where.shape + (1,) * (reps.values.ndim - where.ndim))
    return reps._replace(values=jnp.where(wide, reps.values, 0))


def _streamed(
    scores: Scores, queries: tuple[Reps, Reps], docs: tuple[Reps, Reps], real: Array, tile: int
) -> Array:
    """The divergence of each query, from sums over tiles of the documents.

    With f the teacher's and s the student's scores: sum_m p_f (f - s) - lse(f) + lse(s). Maxima only
    keep the exponentials small, so that no gradient passes through them.
    """
    count = -(-len(real) // tile)
    fill = count * tile - len(real)
    tiles = lambda x: jnp.pad(x, [(0, fill)] + [(0, 0)] * (x.ndim - 1)).reshape(count, tile, *x.shape[1:])
    docs, real = jax.tree.map(tiles, (docs, real))
    values = queries[0].values
    low = jnp.finfo(jnp.float32).min
    # Zeros that vary over a mesh as the queries do.
    first = values.reshape(len(values), -1)[:, 0]
    none = jnp.where(first == first, 0, 0).astype(jnp.promote_types(values.dtype, jnp.float32))

    @jax.checkpoint
    def add(kept, part):
        (most_f, sum_f, mixed, most_s, sum_s), (small, full, here) = kept, part
        s, f = scores(queries[0], small), scores(queries[1], full)
        s, f = jnp.where(here, s, low), jnp.where(here, f, low)
        new_f, new_s = (
            jax.lax.stop_gradient(jnp.maximum(old, jnp.max(x, axis=-1)))
            for old, x in ((most_f, f), (most_s, s))
        )
        weight = jnp.where(here, jnp.exp(f - new_f[:, None]), 0)
        share = jnp.where(here, jnp.exp(s - new_s[:, None]), 0)
        keep_f, keep_s = jnp.exp(most_f - new_f), jnp.exp(most_s - new_s)
        mixed = mixed * keep_f + jnp.sum(weight * jnp.where(here, f - s, 0), axis=-1)
        sum_f = sum_f * keep_f + jnp.sum(weight, axis=-1)
        sum_s = sum_s * keep_s + jnp.sum(share, axis=-1)
        return (new_f, sum_f, mixed, new_s, sum_s), None

    start = (none + low, none, none, none + low, none)
    (most_f, sum_f, mixed, most_s, sum_s), _ = jax.lax.scan(add, start, (*docs, real))
    some = sum_f > 0
    safe = lambda x: jnp.where(some, x, 1)
    value = mixed / safe(sum_f) - jnp.log(safe(sum_f)) - most_f + jnp.log(safe(sum_s)) + most_s
    return jnp.where(some, value, 0)
