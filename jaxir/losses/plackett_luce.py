"""The Plackett-Luce distribution over rankings: probabilities and exact samples.

A ranking is drawn one place at a time, among the items not placed yet, by the softmax of their scores:

    pi(r) = prod_k exp(s_{r_k}) / sum_{j not in r_1..r_{k-1}} exp(s_j)

Rankings are item numbers, best first. They may be partial: the first k places of n. Items that are not real
are never placed before a real one, and add nothing to any probability.

References: Luce 1959; Plackett 1975.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxir.checks import InputError, check_same_shape
from jaxir.losses.by_list import by_list
from jaxir.reduce import AxisName


def log_probability(
    scores: Float[Array, "*batch n"],
    rankings: Int[Array, ...],
    *,
    where: Bool[Array, "*batch n"] | None = None,
) -> Float[Array, ...]:
    r"""log pi(r) of each (partial) ranking, [*batch] or [*batch, samples].

    ``rankings``: [*batch, k] or [*batch, samples, k] with k <= n different item numbers, best first. The
    probabilities of all rankings of one length sum to 1. Adding a number to all scores changes nothing.

    Raises:
      InputError: rankings that are longer than the list, or of other batch axes.

    >>> import jax.numpy as jnp
    >>> p = jnp.exp(log_probability(jnp.log(jnp.array([1.0, 2.0, 1.0])), jnp.array([1, 0, 2])))
    >>> round(float(p), 6)  # 2/4 * 1/2
    0.25
    """
    return jnp.sum(step_log_probabilities(scores, rankings, where=where), axis=-1)


def step_log_probabilities(
    scores: Float[Array, "*batch n"],
    rankings: Int[Array, ...],
    *,
    where: Bool[Array, "*batch n"] | None = None,
) -> Float[Array, ...]:
    r"""log pi(r_k | r_1..r_{k-1}) of every place, of the shape of ``rankings``; 0 where no real item stands.

    Denominators are log-sum-exps from the last place upwards, so that scores of any size are safe.

    Raises:
      InputError: as :func:`log_probability`.
    """
    check_same_shape(scores=scores, where=where)
    lists, several = scores.ndim, rankings.ndim == scores.ndim + 1
    if rankings.ndim not in (lists, lists + 1) or rankings.shape[: lists - 1] != scores.shape[:-1]:
        raise InputError(
            f"rankings have shape {rankings.shape}, expected [*{scores.shape[:-1]}, k] or "
            f"[*{scores.shape[:-1]}, samples, k] for scores of shape {scores.shape}"
        )
    if rankings.shape[-1] > scores.shape[-1]:
        raise InputError(
            f"rankings have {rankings.shape[-1]} places and the list has {scores.shape[-1]} items: an item "
            "can be placed once"
        )
    real = jnp.ones(scores.shape, bool) if where is None else where
    found = places(scores, rankings if several else rankings[..., None, :], real).log_p
    return found if several else found[..., 0, :]


def sample_rankings(
    key: Array,
    scores: Float[Array, "*batch n"],
    samples: int,
    *,
    places: int | None = None,
    where: Bool[Array, "*batch n"] | None = None,
    axis_name: AxisName = None,
) -> Int[Array, "*batch samples places"]:
    r"""Exact samples: the order of s + G with G independent Gumbel(0, 1), best first.

    Each list draws by its number in the global batch, so that what a query draws does not depend on how a
    batch is split over devices. ``places``: how many of them (all).
    """
    check_same_shape(scores=scores, where=where)
    noise = by_list(lambda k, n: jax.random.gumbel(k, (samples, n), scores.dtype), key, scores, axis_name)
    noisy = jax.lax.stop_gradient(scores)[..., None, :] + noise
    if where is not None:
        noisy = jnp.where(where[..., None, :], noisy, -jnp.inf)
    _, found = jax.lax.top_k(noisy, scores.shape[-1] if places is None else places)
    return found.astype(jnp.int32)


class Places(NamedTuple):
    """What estimators need to know of (partial) rankings [*batch, samples, k]."""

    score: Array  # [*batch, samples, k]: of the item at each place
    log_total: Array  # log of the sum of exp(score) over the items that no earlier place has
    placed: Array  # whether a real item stands there
    place: Array  # [*batch, samples, n]: where each item stands; k for those that do not

    @property
    def log_p(self) -> Array:
        """Log-probability of each choice given the earlier ones; 0 where no real item stands."""
        return jnp.where(self.placed, self.score - self.log_total, 0)


def places(scores: Array, rankings: Array, real: Array) -> Places:
    """See :class:`Places`; ``rankings`` [*batch, samples, k]."""
    k, n = rankings.shape[-1], scores.shape[-1]
    low = jnp.finfo(scores.dtype).min / 4  # finite: no gradient of a difference of infinities
    scores = jnp.where(real, scores, low)[..., None, :]
    at = lambda x: jnp.take_along_axis(x, rankings, axis=-1)
    place = jnp.full((*rankings.shape[:-1], n), k, jnp.int32)
    place = jnp.put_along_axis(place, rankings, jnp.arange(k, dtype=jnp.int32), axis=-1, inplace=False)
    rest = jax.nn.logsumexp(jnp.where(place == k, scores, low), axis=-1, keepdims=True)
    score = at(scores)
    log_total = jnp.logaddexp(jax.lax.cumlogsumexp(score, axis=score.ndim - 1, reverse=True), rest)
    return Places(score, log_total, at(jnp.broadcast_to(real[..., None, :], place.shape)), place)
