"""Softmax losses (InfoNCE) over any labels: one positive, several, or grades.

All of them take ``scores, labels`` with the candidates on the last axis and know nothing of models.
``negatives.in_batch`` builds the candidates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import InputError, check_known, check_positive, check_same_shape
from jaxir.losses.masked import logsumexp
from jaxir.reduce import AxisName, ReduceFn, psum, reduce

POSITIVES = ("soft_targets", "mean_log", "log_sum", "decoupled", "soft_targets_raw")
SMOOTHING = ("all", "negatives")


def softmax(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    positives: str = "soft_targets",
    label_smoothing: float = 0.0,
    smoothing: str = "all",
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""Softmax cross entropy over candidates; with in-batch candidates this is InfoNCE.

    With s = scores / temperature, Z = sum over real n of e^{s_n}, P = {n : y_n > 0}:

    - ``soft_targets``      -sum_n (y_n / sum_m y_m) log(e^{s_n} / Z); labels may be grades
    - ``mean_log``          -(1/|P|) sum_{p in P} log(e^{s_p} / Z); the same for 0/1 labels
    - ``log_sum``           -log(sum_{p in P} e^{s_p} / Z)
    - ``decoupled``         -(1/|P|) sum_{p in P} log(e^{s_p} / (e^{s_p} + sum_{n not in P} e^{s_n}))
    - ``soft_targets_raw``  -sum_n y_n log(e^{s_n} / Z), as rax's and optax's (not normalised)

    Identical scores give log n; rows of the gradient sum to 0; adding a constant to a row changes
    nothing. A row without a real candidate is left out of the mean; a row with real candidates and no
    positive is 0 and counts.

    Args:
      scores: [..., n].
      labels: [..., n], > 0 is a positive.
      where: [..., n] True = real.
      weights: [...] one factor per query.
      temperature: scores are divided by it; may be a traced (learnable) scalar.
      positives: how several positives are read, as above.
      label_smoothing: eps in [0, 1): targets become (1 - eps) t + eps u.
      smoothing: u is uniform over ``all`` n real candidates, the positive included (torch, optax), or
        over the ``negatives`` alone.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per query.
      axis_name: mesh axis over which the queries are sharded; the mean is over all of them.

    Raises:
      InputError: unknown ``positives`` or ``smoothing``, shapes that differ, temperature not above 0,
        smoothing with a form that has no target distribution.

    References: van den Oord et al. 2018 (arXiv:1807.03748); decoupled: Gupta et al. 2024 (DEXML).

    >>> import jax.numpy as jnp
    >>> round(float(softmax(jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 0.0]))), 5)
    1.40761
    """
    _check(scores, labels, where, temperature, positives, label_smoothing, smoothing)
    real = jnp.ones(scores.shape, bool) if where is None else where
    values = _cross_entropy(
        scores / temperature, labels, real, positives, label_smoothing, smoothing, axis=-1
    )
    return reduce(
        values,
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def symmetric_softmax(
    scores: Float[Array, "*batch b m"],
    labels: Num[Array, "*batch b m"],
    *,
    where: Bool[Array, "*batch b m"] | None = None,
    columns: tuple[Array, Array, Array] | None = None,
    weights: Float[Array, "*batch b"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    positives: str = "soft_targets",
    label_smoothing: float = 0.0,
    smoothing: str = "all",
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""Both directions of a batch's score matrix: query -> document and document -> query.

    L_i = 1/2 [ CE(S)_i + sum_m t_im CE(S^T)_m ],  t_im = y_im / sum_m' y_im'.

    For one positive each this is CLIP's 1/2 [CE(S) + CE(S^T)]. The second direction exists only for
    columns that are some query's positive: hard negatives are candidates of the first direction and
    have no query of their own. With ``axis_name`` a device holds its own rows of the global matrix and
    the columns' sums run over devices.

    Args and Raises: as :func:`softmax`; ``scores`` [..., b, m] are b queries against m documents. Where they
    are condensed (:func:`jaxir.negatives.tiled`, ``both=True``), ``columns`` are (scores, labels, where)
    [..., b, n, c] of the second direction: for each of the first n columns the queries it is scored against.

    References: Radford et al. 2021 (arXiv:2103.00020).
    """
    _check(scores, labels, where, temperature, positives, label_smoothing, smoothing)
    if scores.ndim < 2:
        raise InputError(f"symmetric_softmax needs a matrix of scores, got shape {scores.shape}")
    real = jnp.ones(scores.shape, bool) if where is None else where
    s = scores / temperature
    options = (positives, label_smoothing, smoothing)
    rows = _cross_entropy(s, labels, real, *options, axis=-1)
    share = jnp.where(real, labels, 0)
    total = jnp.sum(share, axis=-1, keepdims=True)
    share = share / jnp.where(total > 0, total, 1)
    if columns is None:
        second = _cross_entropy(s, labels, real, *options, axis=-2, axis_name=axis_name)[..., None, :]
    else:
        their_scores, their_labels, their_where = columns
        second = _cross_entropy(their_scores / temperature, their_labels, their_where, *options, axis=-1)
        share = share[..., : second.shape[-1]]
    # A column that is nobody's positive has share 0; the select keeps its value out of the gradient.
    values = 0.5 * (rows + jnp.sum(jnp.where(share > 0, share * second, 0), axis=-1))
    return reduce(
        values,
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


OF_SUMS = frozenset({softmax, symmetric_softmax})
"""Losses in which a negative occurs only in sums of e^s: one log sum exp can stand for all of them
(without label smoothing, which adds each negative's own score)."""


def _check(scores, labels, where, temperature, positives, label_smoothing, smoothing) -> None:
    check_same_shape(scores=scores, labels=labels, where=where)
    check_known("reading of several positives", positives, POSITIVES)
    check_known("smoothing", smoothing, SMOOTHING)
    check_positive("temperature", temperature)
    if not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing is {label_smoothing}, it must be in [0, 1)")
    if label_smoothing and positives in ("log_sum", "decoupled"):
        raise InputError(
            f"label_smoothing needs a target distribution, which positives={positives!r} does not "
            "have; use 'soft_targets' or 'mean_log'"
        )


def _cross_entropy(s, labels, real, positives, eps, smoothing, *, axis, axis_name=None) -> Array:
    """One value per list along ``axis``; sums along it run over ``axis_name`` too."""

    def total(x):
        return psum(jnp.sum(x, axis=axis, keepdims=True), axis_name)

    labels = jnp.where(real, labels, 0).astype(s.dtype)
    positive = labels > 0
    if positives in ("log_sum", "decoupled"):
        fn = _log_sum if positives == "log_sum" else _decoupled
        value = fn(s, positive, real, total, axis, axis_name)
    else:
        target = positive.astype(s.dtype) if positives == "mean_log" else labels
        if positives != "soft_targets_raw":
            target = target / _at_least_one(total(target))
        if eps:
            other = real if smoothing == "all" else real & ~positive
            uniform = other / jnp.maximum(total(other.astype(s.dtype)), 1)
            target = (1 - eps) * target + eps * uniform
        log_z = logsumexp(s, real, axis, axis_name)
        # sum_n t_n (log Z - s_n), not sum(t) log Z - sum(t s): the difference is taken between
        # numbers of like size first, which is exact where scores are large.
        value = total(jnp.where(real, target * (log_z - jnp.where(real, s, 0)), 0))
    has_positive = total(positive.astype(s.dtype)) > 0
    return jnp.squeeze(jnp.where(has_positive, value, 0), axis=axis)


def _log_sum(s, positive, real, total, axis, axis_name) -> Array:
    return logsumexp(s, real, axis, axis_name) - logsumexp(s, positive, axis, axis_name)


def _decoupled(s, positive, real, total, axis, axis_name) -> Array:
    others = logsumexp(s, real & ~positive, axis, axis_name)
    gap = others - jnp.where(positive, s, 0)  # -inf where a list has no negatives: softplus is then 0
    each = jnp.where(positive, jax.nn.softplus(gap), 0)
    return total(each) / _at_least_one(total(positive.astype(s.dtype)))


def _at_least_one(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)
