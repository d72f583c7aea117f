"""Regularisers of representations: few active dimensions, evenly used.

All of them take ``values`` [..., v], one row per text, and mean the same on one device and on many.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxir.checks import InputError, check_known, check_positive
from jaxir.reduce import AxisName, psum

GROUPS = ("pooled", "mean_over_slots", "sum_over_slots")
ACROSS = ("global", "device")


def flops(
    values: Float[Array, "*batch v"],
    *,
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""FLOPS: sum_j (1/N sum_i |w_ij|)^2, a smooth stand-in for the cost of an inverted index.

    The mean over the N real rows stands inside the square, so the value depends on which rows make up
    the batch: it is taken over the *global* batch, whatever the number of devices. Duplicating the
    batch changes nothing; masked rows leave both the sum and N; a batch of one gives ||w||_2^2.
    (mean L1)^2 / v <= F <= mean of ||w_i||_2^2.

    Args:
      values: [..., v] representations, one row per text.
      where: [...] True = real row.
      groups: which rows make up one batch. ``pooled``: all of them. ``mean_over_slots`` and
        ``sum_over_slots`` need values [..., n, v]: one value for each of the n slots of the queries' lists
        (slot 0 holds the positives), then their mean or sum. A slot without real rows is left out.
      across: ``global``, the rows of all devices; ``device``, each device's own rows, and the mean of the
        devices' values: it changes with their number, and is there to reproduce tools that do so.
      axis_name: mesh axis over which the rows are sharded.

    Raises:
      InputError: unknown ``groups`` or ``across``; slots of values that have none.

    References: Paria et al. 2020 (arXiv:2004.05665).

    >>> import jax.numpy as jnp
    >>> float(flops(jnp.array([[1.0, 0.0], [1.0, 2.0]])))
    2.0
    >>> float(flops(jnp.array([[[1.0, 0.0], [1.0, 2.0]]]), groups="sum_over_slots"))
    6.0
    """
    return per_slot(_squared_mean, values, where, groups, across, axis_name)


def l1(
    values: Float[Array, "*batch v"],
    *,
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""Mean over real rows of sum_j |w_ij|.

    Args and Raises: as :func:`flops`.

    >>> import jax.numpy as jnp
    >>> float(l1(jnp.array([[1.0, 0.0], [1.0, -2.0]])))
    2.0
    """

    def fn(rows: Array, real: Array, axis_name: AxisName) -> Array:
        total = psum(jnp.sum(jnp.abs(rows), axis=(0, 2)), axis_name)
        return total / jnp.maximum(psum(jnp.sum(real, axis=0, dtype=rows.dtype), axis_name), 1)

    return per_slot(fn, values, where, groups, across, axis_name)


def anti_zero(
    values: Float[Array, "*batch v"],
    *,
    floor: float = 1e-3,
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""1 / (sum_ij |w_ij|)^2 over the real rows: holds a model back from representing texts by nothing.

    A sum, not a mean: twice the batch is a quarter of the value. The sum counts as ``floor`` where it is
    smaller, so that the value is finite and has no gradient where all is zero (none would get through the
    head's relu). 0 without any real row.

    Args and Raises: as :func:`flops`; ``floor`` above 0.

    >>> import jax.numpy as jnp
    >>> float(anti_zero(jnp.array([[1.0, 0.0], [1.0, 2.0]])))
    0.0625
    """
    check_positive("floor of anti_zero", floor)

    def fn(rows: Array, real: Array, axis_name: AxisName) -> Array:
        total = psum(jnp.sum(jnp.abs(rows), axis=(0, 2)), axis_name)
        return jnp.square(1 / jnp.maximum(total, floor))

    return per_slot(fn, values, where, groups, across, axis_name)


def l0_mask_flops(
    values: Float[Array, "*batch v"],
    *,
    threshold: float,
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""FLOPS of the rows that are not sparse yet: sum_j (1/N sum_i m_i |w_ij|)^2, m_i = 1[||w_i||_0 > t].

    N counts all real rows, those with m_i = 0 too. A row of at most ``threshold`` active dimensions gets no
    gradient at all, and there is none through m. t < 0 is :func:`flops`; t >= v is 0.

    Args and Raises: as :func:`flops`.

    References: l0-inspired sparsification of inference-free retrievers (arXiv:2504.14839).

    >>> import jax.numpy as jnp
    >>> float(l0_mask_flops(jnp.array([[1.0, 0.0], [1.0, 2.0]]), threshold=1))
    1.25
    """

    def fn(rows: Array, real: Array, axis_name: AxisName) -> Array:
        dense = jnp.sum(rows != 0, axis=-1, keepdims=True) > threshold
        return _squared_mean(jnp.where(dense, rows, 0), real, axis_name)

    return per_slot(fn, values, where, groups, across, axis_name)


def expected_flops(
    values: Float[Array, "*batch v"],
    *,
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""sum_j n_j (n_j - 1) / (N (N - 1)), n_j = rows of which dimension j is not 0. A metric, no gradient.

    The unbiased estimate of sum_j p_j^2, the products that scoring one text against another takes: the mean
    over pairs of different rows of how many dimensions they share. 0 for fewer than two rows. As a term
    with weight 0 it is logged.

    Args and Raises: as :func:`flops`.

    References: Paria et al. 2020 (arXiv:2004.05665).

    >>> import jax.numpy as jnp
    >>> float(expected_flops(jnp.array([[1.0, 0.0], [1.0, 2.0]])))
    1.0
    """

    def fn(rows: Array, real: Array, axis_name: AxisName) -> Array:
        n = psum(jnp.sum(real, axis=0, dtype=rows.dtype), axis_name)
        count = psum(_sum_of_rows(_active(rows)), axis_name)
        return jnp.sum(count * (count - 1), axis=-1) / jnp.maximum(n * (n - 1), 1)

    return per_slot(fn, jax.lax.stop_gradient(values), where, groups, across, axis_name)


def active_share(values: Array, where: Array | None, axis_name: AxisName = None) -> Array:
    """[v]: the share of the real rows of which a dimension is not 0; 0 where there is no row."""
    rows, real = _slots(jax.lax.stop_gradient(values), where, "pooled")
    return mean_of_rows(_active(rows), real, axis_name)[0]


def per_slot(
    fn: Callable[[Array, Array, AxisName], Array],
    values: Array,
    where: Array | None,
    groups: str,
    across: str,
    axis_name: AxisName,
) -> Array:
    """``fn(rows [r, s, v], real [r, s], axis_name) -> [s]``, and the mean or sum over its s slots.

    Rows that are not real come as zeros.
    """
    check_known("value of groups", groups, GROUPS)
    check_known("value of across", across, ACROSS)
    rows, real = _slots(values, where, groups)
    together = axis_name if across == "global" else None
    some = psum(jnp.sum(real, axis=0), together) > 0
    value = jnp.sum(jnp.where(some, fn(rows, real, together), 0))
    if groups == "mean_over_slots":
        value = value / jnp.maximum(jnp.sum(some), 1)
    return value if together == axis_name else jax.lax.pmean(value, axis_name)


def mean_of_rows(rows: Array, real: Array, axis_name: AxisName) -> Array:
    """[r, s, v] -> [s, v]: the mean over real rows; 0 where there is none."""
    count = psum(jnp.sum(real, axis=0, dtype=rows.dtype), axis_name)
    return psum(_sum_of_rows(rows), axis_name) / jnp.maximum(count, 1)[:, None]


def _sum_of_rows(rows: Array) -> Array:
    """[r, s, v] -> [s, v]. As a product with ones: a sum down columns takes XLA on CPU ten times as long."""
    r, s, v = rows.shape
    ones = jnp.ones((r,), rows.dtype)
    return jnp.matmul(ones, rows.reshape(r, s * v), precision=jax.lax.Precision.HIGHEST).reshape(s, v)


def _squared_mean(rows: Array, real: Array, axis_name: AxisName) -> Array:
    return jnp.sum(jnp.square(mean_of_rows(jnp.abs(rows), real, axis_name)), axis=-1)


def _active(rows: Array) -> Array:
    # A NaN is active and stays one: it must be seen.
    return jnp.where(jnp.isnan(rows), rows, (rows != 0).astype(rows.dtype))


def _slots(values: Array, where: Array | None, groups: str) -> tuple[Array, Array]:
    """(rows [r, s, v], real [r, s]); what is not real is 0, whatever stood there."""
    if groups != "pooled" and values.ndim < 3:
        raise InputError(
            f"groups={groups!r} needs values of shape [queries, slots, dimensions], got {values.shape}: "
            "queries have no slots; use groups='pooled'"
        )
    real = jnp.ones(values.shape[:-1], bool) if where is None else where
    slots = 1 if groups == "pooled" else values.shape[-2]
    rows = jnp.where(real[..., None], values, 0)
    return rows.reshape(-1, slots, values.shape[-1]), real.reshape(-1, slots)
