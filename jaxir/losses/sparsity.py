"""Regularisers of representations: few active dimensions, evenly used."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxir.reduce import AxisName, masked_mean, psum


def flops(
    values: Float[Array, "*batch v"],
    *,
    where: Bool[Array, "*batch"] | None = None,
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""FLOPS: sum_j (1/N sum_i |w_ij|)^2, a smooth stand-in for the cost of an inverted index.

    The mean over the N real rows stands inside the square, so the value depends on which rows make up
    the batch: it is taken over the *global* batch, whatever the number of devices. Duplicating the
    batch changes nothing; masked rows leave both the sum and N; a batch of one gives ||w||_2^2.

    Args:
      values: [..., v] representations, one row per text.
      where: [...] True = real row.
      axis_name: mesh axis over which the rows are sharded.

    References: Paria et al. 2020 (arXiv:2004.05665).

    >>> import jax.numpy as jnp
    >>> float(flops(jnp.array([[1.0, 0.0], [1.0, 2.0]])))
    2.0
    """
    rows = jnp.abs(values).reshape(-1, values.shape[-1])
    real = jnp.ones(rows.shape[:1], bool) if where is None else where.reshape(-1)
    total = psum(jnp.sum(jnp.where(real[:, None], rows, 0), axis=0), axis_name)
    count = psum(jnp.sum(real.astype(rows.dtype)), axis_name)
    return jnp.sum(jnp.square(total / jnp.maximum(count, 1)))


def l1(
    values: Float[Array, "*batch v"],
    *,
    where: Bool[Array, "*batch"] | None = None,
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""Mean over real rows of sum_j |w_ij|.

    >>> import jax.numpy as jnp
    >>> float(l1(jnp.array([[1.0, 0.0], [1.0, -2.0]])))
    2.0
    """
    return masked_mean(jnp.sum(jnp.abs(values), axis=-1), where, axis_name)
