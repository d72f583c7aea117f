"""What a ranking is worth: the rewards of policy gradients.

An *additive* reward is a sum over places, R(r) = sum_k weight_k gain_{r_k}: it is a function
``(labels, *, where, cutoff) -> Additive``. Any other is a function ``(ranked, labels, where) -> Array`` of
the labels in ranked order [*batch, samples, k], and of all labels [*batch, n]: it returns each ranking's
value [*batch, samples], or what each place adds to it [*batch, samples, k], which must not depend on later
places.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_known

Gain = Literal["linear", "exponential"]


class Additive(NamedTuple):
    """R(r) = sum_k weights_k gains_{r_k}."""

    gains: Array  # [*batch, n], 0 where not real
    weights: Array  # [n], 0 from the cutoff on


def dcg(
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    cutoff: int | None = None,
    gain: Gain = "linear",
) -> Additive:
    r"""DCG@cutoff: gains y (``linear``, as trec_eval) or 2^y - 1 (``exponential``), weights 1 / log2(k + 1).

    References: Järvelin and Kekäläinen 2002.
    """
    check_known("gain", gain, ("linear", "exponential"))
    labels = jnp.maximum(_real(labels, where), 0)
    gains = labels if gain == "linear" else jnp.exp2(labels) - 1
    n = labels.shape[-1]
    return Additive(gains, _until(cutoff, 1 / jnp.log2(2.0 + jnp.arange(n, dtype=labels.dtype))))


def ndcg(
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    cutoff: int | None = None,
    gain: Gain = "linear",
) -> Additive:
    """DCG@cutoff over that of the labels in descending order; 0 for lists without a positive."""
    gains, weights = dcg(labels, where=where, cutoff=cutoff, gain=gain)
    ideal = jnp.sum(-jnp.sort(-gains, axis=-1) * weights, axis=-1, keepdims=True)
    return Additive(_share(gains, ideal), weights)


def recall(
    labels: Num[Array, "*batch n"], *, where: Bool[Array, "*batch n"] | None = None, cutoff: int | None = None
) -> Additive:
    """The share of the list's positives (label > 0) before the cutoff; 0 for lists without one."""
    positive = (_real(labels, where) > 0).astype(jnp.result_type(labels, jnp.float32))
    gains = _share(positive, jnp.sum(positive, axis=-1, keepdims=True))
    return Additive(gains, _until(cutoff, jnp.ones(labels.shape[-1], gains.dtype)))


def precision(
    labels: Num[Array, "*batch n"], *, where: Bool[Array, "*batch n"] | None = None, cutoff: int | None = None
) -> Additive:
    """The positives before the cutoff, over the cutoff (as trec_eval, also where the list is shorter)."""
    gains = (_real(labels, where) > 0).astype(jnp.result_type(labels, jnp.float32))
    n = labels.shape[-1]
    return Additive(gains / (cutoff or n), _until(cutoff, jnp.ones(n, gains.dtype)))


def mrr(
    ranked: Num[Array, "*batch samples k"], labels: Num[Array, "*batch n"], where: Bool[Array, "*batch n"]
) -> Float[Array, "*batch samples k"]:
    """1 / place of the first positive, added at that place; 0 where none is placed."""
    del labels, where
    positive = ranked > 0
    first = positive & (jnp.cumsum(positive, axis=-1) == 1)
    dtype = jnp.result_type(ranked, jnp.float32)
    return first.astype(dtype) / (1 + jnp.arange(ranked.shape[-1], dtype=dtype))


ADDITIVE = {"dcg": dcg, "ndcg": ndcg, "precision": precision, "recall": recall}
REWARDS = {**ADDITIVE, "mrr": mrr}


def _real(labels: Array, where: Array | None) -> Array:
    """The labels as numbers of the computation, 0 where not real."""
    labels = labels.astype(jnp.result_type(labels, jnp.float32))
    return labels if where is None else jnp.where(where, labels, 0)


def _until(cutoff: int | None, weights: Array) -> Array:
    return weights if cutoff is None else jnp.where(jnp.arange(len(weights)) < cutoff, weights, 0)


def _share(gains: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, gains / jnp.where(whole > 0, whole, 1), 0)
