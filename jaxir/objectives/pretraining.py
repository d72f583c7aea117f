"""Losses of pre-training: what a masked language model says of its hidden tokens -> a number."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxir.checks import InputError
from jaxir.reduce import AxisName, psum


def token_loss(
    values: Float[Array, "*rows c"], *, where: Array | None = None, axis_name: AxisName = None
) -> Float[Array, ""]:
    """Mean over the losses of a model of the cross-entropy of a hidden token, in nats.

    ``values`` has two columns for each loss of :func:`jaxir.models.smae.masked_language_model`: a text's sum
    of -log p, and the number of its hidden tokens. The cross-entropy is sum over number, both over the global
    batch, so that a text counts by its hidden tokens. With s sizes and a decoder this is
    (1/s) sum_i (CE_i of the masked model + CE_i of the decoder) / 2. Without any hidden token it is 0.

    Args:
      where: [*rows], False on rows that only fill the batch.

    Raises:
      InputError: an odd number of columns.

    References: SMAE, arXiv:2410.13230.

    >>> float(token_loss(jnp.array([[2.0, 1.0], [4.0, 2.0]])))
    2.0
    """
    if values.shape[-1] % 2:
        raise InputError(f"token_loss takes pairs of columns (sum, number), not {values.shape[-1]} columns")
    if where is not None:
        values = jnp.where(where[..., None], values, 0)
    totals = psum(jnp.sum(values.reshape(-1, values.shape[-1] // 2, 2), axis=0), axis_name)
    return jnp.mean(totals[:, 0] / jnp.maximum(totals[:, 1], 1))
