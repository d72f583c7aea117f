"""Group ordering: positives above the hardest negatives, through a differentiable sorting network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import InputError, check_positive, check_same_shape
from jaxir.reduce import AxisName, ReduceFn, reduce


def groco(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    negatives: int = 10,
    positives: int | None = None,
    steepness: float = 1.0,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""Mean over v of BCE(u_i, 1 if i is a positive), u_i = P(i is sorted into the positives' places).

    v = the M = ``negatives`` highest negatives, ascending, then the positives, ascending. An odd-even network
    of as many layers as v is long sorts it: its comparators leave (a, b) as they are with probability
    1/2 + atan(steepness (b - a)) / pi, and swap them otherwise. For a negative and a positive
    u = 1/2 -+ atan(steepness (s_+ - s_-)) / pi; a large steepness gives the hard order. Gradients are never
    exactly 0, and fall as 1 / difference^2.

    The released code gives the compared items no gradient, only the anchor; a function of scores cannot tell
    them apart: put a stop_gradient on the documents for that. Time is quadratic in the network's size, memory
    too in training: say how many ``positives`` there can be where candidates are a batch's.

    Args:
      scores: [..., n].
      labels: [..., n], above 0 is a positive.
      where: [..., n] True = real. A row without a real candidate is left out of the mean; one without a
        positive, or without a negative, is 0 and counts.
      weights: [...] one factor per query.
      negatives: M, how many of them take part at most.
      positives: how many of them do, the lowest: the network is of M + positives. None: all, one of n.
      steepness: beta above.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: shapes that differ, ``negatives`` below 1, ``steepness`` not above 0.

    References: Shvetsova et al. 2023, Learning by Sorting (ICCV); Petersen et al. 2022 (arXiv:2203.09630).
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    check_positive("steepness", steepness)
    if negatives < 1 or (positives is not None and positives < 1):
        raise InputError(f"negatives is {negatives} and positives {positives}: both must be at least 1")
    real = jnp.ones(scores.shape, bool) if where is None else where
    v, lower, size = _groups(scores, real & (labels > 0), real & (labels <= 0), negatives, positives)
    place = jnp.arange(v.shape[-1])
    above = (place >= lower) & (place < size)
    high, low = _sorted_into(v, above, (place < lower), size, steepness)
    # Of an item's two probabilities the one that it should have: no cancellation where it is tiny.
    right = jnp.where(above, high, low)
    each = jnp.where(place < size, -jnp.log(jnp.where(place < size, right, 1)), 0)
    return reduce(
        jnp.sum(each, axis=-1) / jnp.maximum(size[..., 0], 1),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def _groups(scores, positive, negative, most, most_positives):
    """(v [..., n]; its number of negatives [..., 1]; its length [..., 1]); what is behind that is 0."""
    kind = jnp.where(negative, 0, jnp.where(positive, 1, 2))
    order = jnp.lexsort((-jax.lax.stop_gradient(jnp.where(kind < 2, scores, 0)), kind), axis=-1)
    there = jnp.sum(negative, axis=-1, keepdims=True)
    positives = jnp.sum(positive, axis=-1, keepdims=True)
    n = scores.shape[-1]
    width = n if most_positives is None else min(n, most + most_positives)
    lower = jnp.minimum(there, most)
    size = lower + jnp.minimum(positives, n if most_positives is None else most_positives)
    place = jnp.arange(width)
    # Both groups stand in falling order: read each from its end.
    source = jnp.where(place < lower, lower - 1 - place, there + positives - 1 - (place - lower))
    chosen = jnp.take_along_axis(order, jnp.clip(source, 0, n - 1), axis=-1)
    return jnp.where(place < size, jnp.take_along_axis(scores, chosen, axis=-1), 0), lower, size


def _sorted_into(v, above, below, size, steepness):
    """For each item of v: its probabilities of ending in the places ``above`` and in those ``below``."""
    n = v.shape[-1]
    place = jnp.arange(n)

    def mixed(x, swaps):
        """One layer: each place keeps its own with one probability, and has its partner's with the other."""
        stay, swap, upwards = swaps
        mate = jnp.where(upwards, jnp.roll(x, -1, axis=-1), jnp.roll(x, 1, axis=-1))
        return jnp.where(swap == 0, x, stay * x + swap * mate)

    def forward(x, layer):
        upwards = (place - layer) % 2 == 0
        other = jnp.where(upwards, place + 1, place - 1)
        compared = (other >= 0) & (other < size) & (place < size) & (layer < size)
        rise = jnp.where(upwards, jnp.roll(x, -1, axis=-1) - x, x - jnp.roll(x, 1, axis=-1))
        rise = jnp.where(compared, steepness * rise, 0)
        # Angles of atan2 keep both probabilities exact where one of them is tiny.
        stay, swap = jnp.arctan2(1.0, -rise) / jnp.pi, jnp.arctan2(1.0, rise) / jnp.pi
        swaps = stay, jnp.where(compared, swap, 0), jnp.broadcast_to(upwards, x.shape)
        return mixed(x, swaps), swaps

    _, swaps = jax.lax.scan(forward, v, jnp.arange(n))
    ends = jnp.stack([jnp.broadcast_to(x, v.shape).astype(v.dtype) for x in (above, below)])
    found, _ = jax.lax.scan(lambda p, layer: (mixed(p, layer), None), ends, swaps, reverse=True)
    return found[0], found[1]
