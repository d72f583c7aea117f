"""Distances between distributions over candidates: of a whole batch (W2), and of each query (W1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from jaxir.checks import check_positive, check_same_shape
from jaxir.losses.masked import softmax
from jaxir.reduce import AxisName, ReduceFn, masked_mean, reduce


def wasserstein(
    scores: Float[Array, "b n"],
    labels: Num[Array, "b n"],
    *,
    where: Bool[Array, "b n"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    label_temperature: float = 1.0,
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""Squared W2 between Gaussians: ||m_x - m_y||^2 + tr C_x + tr C_y - 2 tr (C_x C_y)^{1/2}.

    x_i = softmax(s_i / temperature) and y_i = softmax(labels_i / label_temperature) are two samples of b
    points, m and C (by b - 1) their means and covariances. The last trace is the nuclear norm of X Y^T / (b
    - 1), X and Y centred: real and stable in float32, its gradient from singular vectors (of first order
    only).

    It compares means and covariances, so it **cannot see which query has which labels**: rows of the labels
    in another order give the same value. Add a term that can (:func:`wasserstein_1d`, ``kl_divergence``).
    With in-batch candidates others' documents have label 0, and so exp(0) of the target's mass each.

    There is one value for all queries, hence neither ``weights`` nor ``reduce_fn``. With ``axis_name`` every
    device gathers all rows and computes all of it: the decomposition is of a matrix of min(b, n) of the
    **global** batch.

    Args:
      scores: [b, n].
      labels: [b, n] grades.
      where: [b, n] True = real. A row without a real candidate, or without a positive, is in neither sample.
      temperature: of the scores; label_temperature: of the labels.
      axis_name: mesh axis over which the queries are sharded.

    Raises:
      InputError: shapes that differ, a temperature not above 0.

    References: SyCL, list-wise contrastive learning with Wasserstein distance (EMNLP Findings 2025).
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    x, y, kept = _distributions(scores, labels, real, temperature, label_temperature)
    if axis_name is not None:
        x, y, kept = (jax.lax.all_gather(a, axis_name, tiled=True) for a in (x, y, kept))
    count = jnp.sum(kept)
    means, spreads = [], []
    for rows in (x, y):
        mean = jnp.sum(jnp.where(kept[:, None], rows, 0), axis=0) / jnp.maximum(count, 1)
        means.append(mean)
        spreads.append(jnp.where(kept[:, None], rows - mean, 0))
    of_means = jnp.sum(jnp.square(means[0] - means[1]))
    of_spreads = sum(jnp.sum(jnp.square(s)) for s in spreads) - 2 * _nuclear_norm(*spreads)
    # The same number on every device: the mean over them is what makes the gradient right.
    return masked_mean(of_means + of_spreads / jnp.maximum(count - 1, 1), axis_name=axis_name)


def wasserstein_1d(
    scores: Float[Array, "*batch n"],
    labels: Num[Array, "*batch n"],
    *,
    where: Bool[Array, "*batch n"] | None = None,
    weights: Float[Array, "*batch"] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    label_temperature: float = 1.0,
    reduce_fn: ReduceFn = jnp.mean,
    axis_name: AxisName = None,
) -> Float[Array, ...]:
    r"""W1 along the order of the labels: sum_k |sum_{j <= k} (x_j - y_j)|, candidates by falling label.

    x = softmax(s / temperature), y = softmax(labels / label_temperature) over the real candidates: how much
    mass times how many places of the labels' order it has to move. Equal labels are in the order in which
    they stand.

    Args, Raises: as :func:`wasserstein`; [..., n], one value per query. A row without a real candidate is
    left out of the mean; one with real candidates and no positive is 0 and counts.
    """
    check_same_shape(scores=scores, labels=labels, where=where)
    real = jnp.ones(scores.shape, bool) if where is None else where
    x, y, kept = _distributions(scores, labels, real, temperature, label_temperature)
    order = jnp.argsort(jnp.where(real, -labels.astype(scores.dtype), jnp.inf), axis=-1, stable=True)
    moved = jnp.cumsum(jnp.take_along_axis(x - y, order, axis=-1), axis=-1)
    # The last sum is 1 - 1: its rounding has a sign, and no meaning.
    last = jnp.sum(real, axis=-1, keepdims=True) - 1
    values = jnp.sum(jnp.where(jnp.arange(moved.shape[-1]) < last, jnp.abs(moved), 0), axis=-1)
    return reduce(
        jnp.where(kept, values, 0),
        where=jnp.any(real, axis=-1),
        weights=weights,
        reduce_fn=reduce_fn,
        axis_name=axis_name,
    )


def _distributions(scores, labels, real, temperature, label_temperature):
    """(softmax of the scores, softmax of the labels, whether a list has a positive)."""
    check_positive("temperature", temperature)
    check_positive("label_temperature", label_temperature)
    labels = jnp.where(real, labels, 0).astype(scores.dtype)
    kept = jnp.any(real & (labels > 0), axis=-1)
    return softmax(scores / temperature, real), softmax(labels / label_temperature, real), kept


def _nuclear_norm(x: Array, y: Array) -> Array:
    """The sum of the singular values of X Y^T for [b, n] each; its gradient is that of <U V^T, X Y^T>."""
    if x.shape[0] > x.shape[1]:
        # Through bases of both column spaces, which leave singular values as they are: [n, n], not [b, b].
        x, y = (jnp.linalg.qr(jax.lax.stop_gradient(a))[0].T @ a for a in (x, y))
    product = x @ y.T
    fixed = jax.lax.stop_gradient(product)
    # A NaN is to come out as one, whatever the decomposition does with it.
    u, s, vt = jnp.linalg.svd(jnp.nan_to_num(fixed), full_matrices=False)
    # Centred rows have a singular value of 0, of which the vectors are arbitrary.
    some = s > s[0] * jnp.finfo(s.dtype).eps * max(product.shape)
    return jnp.sum((u * some) @ vt * product)
