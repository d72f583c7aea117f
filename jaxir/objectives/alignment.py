"""How far small representations are from the full ones, as divergences over a batch."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxir import negatives
from jaxir.losses.distillation import kl_divergence
from jaxir.reduce import AxisName, masked_mean
from jaxir.types import Array, Batch, BatchReps

Scores = Callable[[Array, Array], Array]


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

    ``scores(query [b, d], docs [m, d]) -> [b, m]``, the temperature included. Documents that only fill lists
    take no part. The teacher gets no gradient. Where the matrix of scores is large it is walked in tiles
    and computed again for the gradient, as :func:`jaxir.negatives.choose` decides; the documents of all
    devices are gathered in any case.

    References: Zhuang et al. 2024, Starbucks (arXiv:2410.13230).
    """
    real = jnp.asarray(batch.where).reshape(-1)
    sides = [x.docs.values.reshape(-1, x.docs.values.shape[-1]) for x in (student, teacher)]
    queries = student.query.values, jax.lax.stop_gradient(teacher.query.values)
    docs = sides[0], jax.lax.stop_gradient(sides[1])
    if axis_name is not None:
        gather = lambda x: jax.lax.all_gather(x, axis_name, tiled=True)
        docs, real = tuple(map(gather, docs)), gather(real)
    rows = jnp.any(jnp.asarray(batch.where), axis=-1)
    if negatives.choose(len(rows), len(real), docs[1].shape[-1], mode=mode).mode == "dense":
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
    log_s, log_t = (jax.nn.log_softmax(x / temperature, axis=-1) for x in (student, teacher))
    return masked_mean(jnp.sum(jnp.exp(log_t) * (log_t - log_s), axis=-1), where, axis_name)


def _streamed(
    scores: Scores, queries: tuple[Array, Array], docs: tuple[Array, Array], real: Array, tile: int
) -> Array:
    """The divergence of each query, from sums over tiles of the documents.

    With f the teacher's and s the student's scores: sum_m p_f (f - s) - lse(f) + lse(s). Maxima only
    keep the exponentials small, so that no gradient passes through them.
    """
    count = -(-len(real) // tile)
    fill = count * tile - len(real)
    docs = tuple(jnp.pad(x, ((0, fill), (0, 0))).reshape(count, tile, -1) for x in docs)
    real = jnp.pad(real, (0, fill)).reshape(count, tile)
    low = jnp.finfo(jnp.float32).min
    none = jnp.zeros(len(queries[0]), jnp.float32)
    # Sums that vary over a mesh as the queries do.
    none = none + 0 * jnp.sum(jax.lax.stop_gradient(queries[0]), axis=-1)

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
