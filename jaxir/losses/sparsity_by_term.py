"""FLOPS with a weight for each dimension: by inverse document frequency, or by document frequency."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxir.checks import InputError, check_positive, check_shape
from jaxir.losses.sparsity import flops
from jaxir.reduce import AxisName

LEAST_DF = 1e-6


def idf_flops(
    values: Float[Array, "*batch v"],
    *,
    idf: Float[Array, " v"],
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""IDF-aware FLOPS, idf inside the loss: sum_j (1/N sum_i |u_ij| / idf_j)^2.

    A dimension of twice the idf is penalised a quarter: rare terms are cheap. It is for documents whose
    weights are matched as they are, with queries that are plain bags of words. (Where the query's weights
    are the idf, the idf is in the match already: :func:`idf_match_flops`.) A dimension of idf 0 or below
    matches nothing and is left out; idf = 1 everywhere is :func:`jaxir.losses.flops`. idf gets no gradient.

    Args:
      idf: [v], of the dimensions that ``values`` has.
      values, where, groups, across, axis_name: as in :func:`jaxir.losses.flops`.

    Raises:
      InputError: an idf of another length; as :func:`jaxir.losses.flops`.

    References: IDF-aware penalty of inference-free sparse retrievers (arXiv:2411.04403).

    >>> import jax.numpy as jnp
    >>> float(idf_flops(jnp.array([[1.0, 4.0], [1.0, 4.0]]), idf=jnp.array([1.0, 2.0])))
    5.0
    """
    check_shape("idf", idf, values.shape[-1:])
    idf = jax.lax.stop_gradient(idf)
    known = idf > 0
    scale = jnp.where(known, 1 / jnp.where(known, idf, 1), 0)
    return flops(values * scale, where=where, groups=groups, across=across, axis_name=axis_name)


def idf_match_flops(
    values: Float[Array, "*batch v"],
    *,
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""FLOPS where the idf stands in the match: queries are bags weighted by idf, s = sum_j q_j idf_j w_j.

    The weight that a document brings into a match is u_j = idf_j w_j, and :func:`idf_flops` of it is

        sum_j (1/N sum_i |idf_j w_ij| / idf_j)^2 = sum_j (1/N sum_i |w_ij|)^2:

    the idf cancels, so that this is :func:`jaxir.losses.flops` of the encoder's own weights, under the name
    of what it means. It needs no idf, and idf must not be put into it a second time.

    Args, Raises: as :func:`jaxir.losses.flops`.

    References: IDF-aware penalty of inference-free sparse retrievers (arXiv:2411.04403).
    """
    return flops(values, where=where, groups=groups, across=across, axis_name=axis_name)


def df_flops(
    values: Float[Array, "*batch v"],
    *,
    df: Float[Array, " v"],
    alpha: float = 0.1,
    beta: float = 10.0,
    where: Bool[Array, "*batch"] | None = None,
    groups: str = "pooled",
    across: str = "global",
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""DF-FLOPS: sum_j (a(df_j) 1/N sum_i |w_ij|)^2; dimensions that many documents use cost more.

    a is :func:`df_weight`, between 0 and 1; where it is 1 everywhere this is :func:`jaxir.losses.flops`. The
    weights stand inside the square and get no gradient. In an objective the frequencies come from a
    memory: ``memory=dict(fn="jaxir.objectives:running_df", decay=0.99)``.

    Args:
      df: [v], the share of documents in which each dimension is active, between 0 and 1.
      alpha: the share at which the weight is 1/2, between 0 and 1.
      beta: how sharply it rises there. The defaults of both are this library's.
      values, where, groups, across, axis_name: as in :func:`jaxir.losses.flops`.

    Raises:
      InputError: frequencies of another length, alpha or beta out of range; as :func:`jaxir.losses.flops`.

    References: DF-FLOPS (arXiv:2505.15070).

    >>> import jax.numpy as jnp
    >>> float(df_flops(jnp.ones((3, 2)), df=jnp.array([1.0, 0.0])))
    1.0
    """
    check_shape("df", df, values.shape[-1:])
    weight = jax.lax.stop_gradient(df_weight(df, alpha, beta))
    return flops(values * weight, where=where, groups=groups, across=across, axis_name=axis_name)


def df_weight(df: Float[Array, " v"], alpha: float = 0.1, beta: float = 10.0) -> Float[Array, " v"]:
    r"""1 / (1 + (x^{log_alpha 2} - 1)^beta), x = df within [1e-6, 1]: 0 at 0, 1/2 at alpha, 1 at 1.

    >>> import jax.numpy as jnp
    >>> [round(x, 4) for x in df_weight(jnp.array([0.05, 0.1, 0.2, 1.0])).tolist()]
    [0.0216, 0.5, 0.9912, 1.0]
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha of df_flops is {alpha}, it must be a share between 0 and 1")
    check_positive("beta of df_flops", beta)
    # x^p - 1 = expm1(p log x), which is exact near x = 1; the maximum keeps rounding from going below 0.
    base = jnp.expm1(math.log(2) / math.log(alpha) * jnp.log(jnp.clip(df, LEAST_DF, 1.0)))
    return 1 / (1 + jnp.maximum(base, 0) ** beta)
