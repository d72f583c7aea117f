"""Estimates of the gradient of a Plackett-Luce policy's expected reward, all in O(n + k) per sample.

Each takes a :class:`Sampled` and returns the *ascent* direction [*batch, n], the mean over the samples.

Why linear: what an item d gets from the choices is a sum over the places k until its own of
a_k p_k(d) = a_k e^{s_d} / D_k, with D_k the total of what is not placed before k. With d at place m that is
e^{s_d} / D_m times T_m, T_m = sum_{k <= m} a_k D_m / D_k, which a recurrence with the factors
D_k / D_{k-1} <= 1 gives for all m at once: no exponential overflows and nothing cancels.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxir.losses.plackett_luce import Places
from jaxir.losses.rewards import Additive
from jaxir.types import Array

BASELINES = ("none", "leave_one_out", "mean")


class Sampled(NamedTuple):
    """Rankings of a policy, and what they are worth."""

    scores: Array  # [*batch, n], 0 where not real
    real: Array  # [*batch, n]
    rankings: Array  # [*batch, samples, k]
    at: Places
    rewards: Array | None  # [*batch, samples, k] by place, or [*batch, samples]
    additive: Additive | None

    @property
    def total(self) -> Array:
        """[*batch, samples]: the reward of each ranking."""
        by_place = self.rewards.ndim == self.rankings.ndim
        return jnp.sum(self.rewards, axis=-1) if by_place else self.rewards

    @property
    def to_go(self) -> Array:
        """c_k [*batch, samples, k]: the reward of place k and below; all of it where it has no places."""
        if self.rewards.ndim != self.rankings.ndim:
            return jnp.broadcast_to(self.rewards[..., None], self.rankings.shape)
        return jnp.flip(jnp.cumsum(jnp.flip(self.rewards, -1), axis=-1), -1)


def reinforce(sampled: Sampled, baseline: str | float) -> Array:
    """(R - baseline) grad log pi(r)."""
    advantage = _less(sampled.total, baseline, -1)[..., None]
    return _score_function(sampled, jnp.broadcast_to(advantage, sampled.rankings.shape))


def reward_to_go(sampled: Sampled, baseline: str | float) -> Array:
    """sum_k (c_k - baseline_k) grad log pi(r_k | r_1..r_{k-1}): what stands above is no merit of a choice."""
    return _score_function(sampled, _less(sampled.to_go, baseline, -2))


def pl_rank_2(sampled: Sampled, baseline: str | float) -> Array:
    """The sum over places and items as it is written, [*batch, samples, k, n] numbers, to compare with."""
    del baseline
    at, (gains, weights) = sampled.at, sampled.additive
    k = sampled.rankings.shape[-1]
    open_ = at.place[..., None, :] >= jnp.arange(k)[:, None]
    log_p = sampled.scores[..., None, None, :] - at.log_total[..., None]
    p = jnp.where(open_ & at.placed[..., None], jnp.exp(jnp.minimum(log_p, 0)), 0)
    each = weights[:k, None] * gains[..., None, None, :] - sampled.to_go[..., None]
    return jnp.mean(_below(sampled) + jnp.sum(p * each, axis=-2), axis=-2)


def pl_rank_3(sampled: Sampled, baseline: str | float) -> Array:
    """pl_rank_2 by recurrences."""
    del baseline
    gains, weights = sampled.additive
    weights = jnp.broadcast_to(weights[: sampled.rankings.shape[-1]], sampled.rankings.shape)
    chosen = gains[..., None, :] * _weighted(sampled, weights) - _weighted(sampled, sampled.to_go)
    return jnp.mean(_below(sampled) + chosen, axis=-2)


def integrated(sampled: Sampled, baseline: str | float) -> Array:
    """The exact gradient of each place's own mean reward under p_k; reward_to_go of what comes below it."""
    gains, weights = sampled.additive
    weights = jnp.broadcast_to(weights[: sampled.rankings.shape[-1]], sampled.rankings.shape)
    below = _less(jnp.pad(sampled.to_go[..., 1:], _after(sampled.to_go)), baseline, -2)
    mean = _weighted(sampled, weights * _mean_gain(sampled))
    now = gains[..., None, :] * _weighted(sampled, weights) - mean
    return _score_function(sampled, below) + jnp.mean(now, axis=-2)


ESTIMATORS = {
    "reinforce": reinforce,
    "leave_one_out": reinforce,
    "reward_to_go": reward_to_go,
    "pl_rank_1": reward_to_go,
    "pl_rank_2": pl_rank_2,
    "pl_rank_3": pl_rank_3,
    "integrated": integrated,
}
OF_ADDITIVE = ("pl_rank_2", "pl_rank_3", "integrated")


def _less(values: Array, baseline: str | float, samples: int) -> Array:
    """Minus the baseline; ``samples``: the axis they are on."""
    if not isinstance(baseline, str):
        return values - baseline
    if baseline == "none":
        return values
    n = values.shape[samples]
    # All others' mean is as far from a value as n / (n - 1) times the mean of all.
    scale = n / (n - 1) if baseline == "leave_one_out" else 1.0
    return scale * (values - jnp.mean(values, axis=samples, keepdims=True))


def _score_function(sampled: Sampled, a: Array) -> Array:
    """The mean over samples of sum_k a_k (1[r_k = d] - p_k(d)), [*batch, n]."""
    padded = jnp.pad(a, _after(a))
    own = jnp.take_along_axis(padded, sampled.at.place, axis=-1)
    return jnp.mean(own - _weighted(sampled, a), axis=-2)


def _below(sampled: Sampled) -> Array:
    """[*batch, samples, n]: the reward below each item's place; 0 for those that are not placed."""
    to_go = sampled.to_go
    padded = jnp.pad(to_go[..., 1:], _after(to_go, 2))
    return jnp.take_along_axis(padded, sampled.at.place, axis=-1)


def _mean_gain(sampled: Sampled) -> Array:
    """sum_d p_k(d) gain_d of every place [*batch, samples, k], from the last place upwards."""
    at, gains = sampled.at, sampled.additive.gains[..., None, :]
    k = sampled.rankings.shape[-1]
    rest = (at.place == k) & sampled.real[..., None, :]
    p = jax.nn.softmax(jnp.where(rest, sampled.scores[..., None, :], jnp.finfo(gains.dtype).min), axis=-1)
    last = jnp.sum(jnp.where(rest, p * gains, 0), axis=-1, keepdims=True)
    chosen = jnp.where(at.placed, jnp.exp(at.log_p), 0)
    own = jnp.take_along_axis(gains, sampled.rankings, axis=-1)
    join = lambda right, left: (left[0] * right[0], left[1] + left[0] * right[1])
    each = (1 - chosen, chosen * own)
    left_over, sums = jax.lax.associative_scan(join, each, axis=own.ndim - 1, reverse=True)
    return sums + left_over * last


def _after(x: Array, more: int = 1) -> list[tuple[int, int]]:
    """For jnp.pad: zeros at the end of the last axis."""
    return [(0, 0)] * (x.ndim - 1) + [(0, more)]


def _weighted(sampled: Sampled, a: Array) -> Array:
    """sum_k a_k p_k(d) over the places until the item's own, [*batch, samples, n]."""
    at, k = sampled.at, a.shape[-1]
    drop = jnp.pad(jnp.diff(at.log_total), [(0, 0)] * (a.ndim - 1) + [(1, 0)], constant_values=-jnp.inf)
    factor = jnp.where(at.placed, jnp.exp(jnp.minimum(drop, 0)), 0)
    a = jnp.where(at.placed, a, 0)
    join = lambda left, right: (left[0] * right[0], left[1] * right[0] + right[1])
    _, sums = jax.lax.associative_scan(join, (factor, a), axis=-1)
    last = jnp.minimum(at.place, k - 1)
    pick = lambda x: jnp.take_along_axis(x, last, axis=-1)
    share = jnp.exp(jnp.minimum(sampled.scores[..., None, :] - pick(at.log_total), 0))
    return share * pick(sums)
