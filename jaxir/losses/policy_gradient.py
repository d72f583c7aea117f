"""Plackett-Luce policy gradients: training a ranker on the value of the rankings that it samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from jaxir.checks import InputError, check_known, check_same_shape
from jaxir.config import accepts, import_path
from jaxir.losses import estimators
from jaxir.losses.estimators import BASELINES, ESTIMATORS, OF_ADDITIVE, Sampled
from jaxir.losses.plackett_luce import places, sample_rankings
from jaxir.losses.rewards import ADDITIVE, REWARDS, Additive, Gain
from jaxir.reduce import AxisName, ReduceFn, reduce

WITH_BASELINE = ("reinforce", "reward_to_go", "integrated")


def pl_policy_gradient(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    key: Array | None = None,
    reward: str | Callable[..., Any] = "ndcg",
    cutoff: int | None = 10,
    gain: Gain = "linear",
    samples: int = 16,
    estimator: str = "integrated",
    baseline: str | float | None = None,
    entropy_weight: float = 0.0,
    kl_weight: float = 0.0,
    teacher: Float[Array, "*batch n"] | None = None,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""-E[R(r)] over rankings r of the Plackett-Luce policy of the scores, by samples.

    The value is minus the mean reward of the sampled rankings; the gradient is minus an unbiased estimate of
    grad_s E[R]. With c_k = the reward of places k and below and p_k = the softmax over the items not placed
    before place k, one sample's estimate is

    - ``reinforce``: R sum_k (1[r_k = d] - p_k(d)); ``leave_one_out``: the same with R minus the mean reward
      of the query's other samples;
    - ``reward_to_go``: sum_k (c_k - mean of the other samples' c_k) (1[r_k = d] - p_k(d));
    - ``pl_rank_1``: reward_to_go without that baseline;
    - ``pl_rank_2``: c_{k(d)+1} + sum_k p_k(d) (weight_k gain_d - c_k): the choice at each place is
      integrated out, so that its variance is the smallest; for additive rewards;
    - ``pl_rank_3``: the same numbers as pl_rank_2 in O(samples (n + k)) after the sort;
    - ``integrated``, the default: sum_k p_k(d) weight_k (gain_d - sum_j p_k(j) gain_j), the exact gradient of
      what each place itself is worth, plus reward_to_go of what comes below it; as cheap as pl_rank_3. Ours:
      pl_rank with the sampled item's gain replaced by its mean, and with a baseline. tests measure that its
      variance is the smallest of all.

    A list of one label only has no gradient in expectation. Scores may be of any size.

    Args:
      labels: grades, 0 for what is not relevant.
      key: of the step. Lists draw by their number in the global batch.
      reward: "ndcg", "dcg", "mrr", "recall" or "precision", at the cutoff; or a function of
        :mod:`jaxir.losses.rewards`' contract, or its path "module:name".
      cutoff: places that count; None = all. More than n is an error.
      gain: "linear" or "exponential" (2^y - 1), of rewards that have grades.
      samples: rankings drawn per list.
      baseline: what reinforce and reward_to_go subtract: "none", "leave_one_out", "mean" (of all samples,
        a factor (samples - 1) / samples of leave_one_out), or a number known beforehand. None is the
        estimator's own.
      entropy_weight: adds entropy_weight * H(pi) of the first ``cutoff`` places to what is maximised.
      kl_weight: subtracts kl_weight * KL(pi || pi_ref), where pi_ref has the scores ``teacher``.

    Raises:
      InputError: no key, an unknown name, a cutoff above the list, samples=1 with leave-one-out, pl_rank_2
        or 3 with a reward that is not additive, kl_weight without a teacher, a reward that is not finite
        (where it can be seen: not under jit) or of another shape.

    References: Gao et al. 2023 (arXiv:2310.04407); Oosterhuis 2021 (PL-Rank-1, 2), 2022 (PL-Rank-3);
    Kool et al. 2019 (leave-one-out).
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    if key is None:
        raise InputError("a policy gradient draws rankings: give key=, the random key of this step")
    if samples < 1:
        raise InputError(f"samples is {samples}, it must be at least 1")
    real = jnp.ones(scores.shape, bool) if where is None else where
    held = jax.lax.stop_gradient(jnp.where(real, scores, 0))
    counted = _cutoff(cutoff, scores.shape[-1])
    rankings = sample_rankings(key, held, samples, places=counted, where=real, axis_name=axis_name)
    gradient, rewards = estimate(
        held,
        labels,
        rankings,
        reward=reward,
        cutoff=cutoff,
        gain=gain,
        estimator=estimator,
        baseline=baseline,
        entropy_weight=entropy_weight,
        kl_weight=kl_weight,
        teacher=teacher,
        where=real,
    )
    # The value is the reward; the gradient that of the product with the estimate.
    pulled = jnp.sum(jax.lax.stop_gradient(gradient) * jnp.where(real, scores, 0), axis=-1)
    values = -(jnp.mean(rewards, axis=-1) + pulled - jax.lax.stop_gradient(pulled))
    some = jnp.any(real, axis=-1)
    return reduce(values, where=some, weights=weights, reduce_fn=reduce_fn, axis_name=axis_name)


def estimate(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    rankings: Int[Array, "*batch samples k"],
    *,
    reward: str | Callable[..., Any] = "ndcg",
    cutoff: int | None = 10,
    gain: Gain = "linear",
    estimator: str = "integrated",
    baseline: str | float | None = None,
    entropy_weight: float = 0.0,
    kl_weight: float = 0.0,
    teacher: Float[Array, "*batch n"] | None = None,
    where: Bool[Array, "*batch n"] | None = None,
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch samples"]]:
    r"""(the estimate of grad_s E[R], each ranking's reward), of rankings that were drawn from the policy.

    ``rankings`` hold the first k places, k being the cutoff or, without one, n. The estimate is the mean over
    the samples and points upwards. The other arguments are :func:`pl_policy_gradient`'s.
    """
    check_same_shape(scores=scores, labels=labels, where=where, teacher=teacher)
    check_known("estimator", estimator, ESTIMATORS)
    baseline = _baseline(estimator, baseline, rankings.shape[-2])
    if rankings.shape[-1] != _cutoff(cutoff, scores.shape[-1]):
        raise InputError(f"rankings have {rankings.shape[-1]} places, and cutoff={cutoff} counts others")
    if kl_weight and teacher is None:
        raise InputError("kl_weight needs teacher=, the scores of the policy to stay near to")
    real = jnp.ones(scores.shape, bool) if where is None else where
    scores = jnp.where(real, scores, 0)
    labels = jnp.where(real, labels, 0).astype(scores.dtype)
    rewards, additive = _rewards(reward, gain, labels, real, cutoff, rankings)
    sampled = Sampled(scores, real, rankings, places(scores, rankings, real), rewards, additive)
    if estimator in OF_ADDITIVE and additive is None:
        raise InputError(
            f"{estimator} is for rewards that are a weight of the place times a gain of the item "
            f"({', '.join(sorted(ADDITIVE))}); use estimator='reward_to_go' or 'leave_one_out'"
        )
    gradient = ESTIMATORS[estimator](sampled, baseline)
    if entropy_weight or kl_weight:
        gradient += _regularised(sampled, teacher, real, entropy_weight, kl_weight)
    return jnp.where(real, gradient, 0), sampled.total


def _cutoff(cutoff: int | None, n: int) -> int:
    if cutoff is None:
        return n
    if not 1 <= cutoff <= n:
        raise InputError(
            f"cutoff is {cutoff} and the lists have {n} candidates: use a cutoff from 1 to {n}, None for all "
            "places, or longer lists (data.listed)"
        )
    return cutoff


def _baseline(estimator: str, baseline: str | float | None, samples: int) -> str | float:
    many = "leave_one_out" if samples > 1 else "none"
    own = {"leave_one_out": "leave_one_out", "reward_to_go": many, "integrated": many}
    if baseline is None:
        baseline = own.get(estimator, "none")
    elif estimator not in WITH_BASELINE:
        raise InputError(
            f"{estimator} has no baseline to choose; {', '.join(WITH_BASELINE)} take baseline={baseline!r}"
        )
    if isinstance(baseline, str):
        check_known("baseline", baseline, BASELINES)
    if baseline == "leave_one_out" and samples < 2:
        raise InputError("leave_one_out compares a sample with the query's others: set samples to 2 or more")
    return baseline


def _rewards(
    reward: Any, gain: Gain, labels: Array, real: Array, cutoff: int | None, rankings: Array
) -> tuple[Array, Additive | None]:
    """What each ranking, or each of its places, is worth; and its parts where it is additive."""
    if isinstance(reward, str) and ":" in reward:
        reward = import_path(reward)
    elif isinstance(reward, str):
        check_known("reward", reward, REWARDS)
        reward = REWARDS[reward]
    ranked = lambda x: jnp.take_along_axis(x[..., None, :], rankings, axis=-1)
    additive = None
    if accepts(reward, "cutoff"):
        grades = {"gain": gain} if accepts(reward, "gain") else {}
        gains, weights = reward(labels, where=real, cutoff=cutoff, **grades)
        additive = Additive(jnp.where(real, gains, 0), weights)
        found = ranked(additive.gains) * weights[: rankings.shape[-1]]
    else:
        found = reward(ranked(labels), labels, real)
    if found.shape not in (rankings.shape, rankings.shape[:-1]):
        raise InputError(
            f"the reward has shape {found.shape}, expected {rankings.shape[:-1]} (a value of each ranking) "
            f"or {rankings.shape} (what each place adds)"
        )
    if not isinstance(found, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(found))):
        raise InputError("the reward of a ranking is not finite: check the labels and the reward's function")
    return jax.lax.stop_gradient(found), additive


def _regularised(
    sampled: Sampled, teacher: Array | None, real: Array, entropy_weight: float, kl_weight: float
) -> Array:
    """The gradient of entropy_weight H - kl_weight KL: what a choice adds to them is its reward."""
    each = -(entropy_weight + kl_weight) * sampled.at.log_p
    if kl_weight:
        reference = jax.lax.stop_gradient(jnp.where(real, teacher, 0))
        each += kl_weight * places(reference, sampled.rankings, real).log_p
    many = sampled.rankings.shape[-2] > 1
    return estimators.reward_to_go(sampled._replace(rewards=each), "leave_one_out" if many else "none")
