"""Representations -> scores. All scores are float32 (float64 for float64 input), never bfloat16.

Matrix products accumulate in float32 whatever the activations' type: a difference of 0.01 between
two cosines is a difference of 1 after division by a temperature of 0.01.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def normalize(x: Float[Array, ...], axis: int = -1, eps: float = 1e-30) -> Float[Array, ...]:
    """x / ||x||_2, with value 0 and gradient 0 (not NaN) where x is 0.

    >>> import jax.numpy as jnp
    >>> print(normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(3))
    [[0.6 0.8]
     [0.  0. ]]
    """
    # Scaling by the largest entry first keeps the squares of 1e-25 or 1e25 inside float32's range.
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    empty = largest <= eps
    scaled = x / jnp.where(empty, 1, largest)
    squared = jnp.sum(jnp.square(scaled.astype(_wide(x))), axis=axis, keepdims=True)
    length = jnp.sqrt(jnp.where(empty, 1, squared)).astype(x.dtype)
    return jnp.where(empty, 0, scaled / length)


def dot(queries: Float[Array, "*batch q d"], docs: Float[Array, "*batch m d"]) -> Float[Array, "*batch q m"]:
    """Inner products of all pairs: S[i, j] = <queries_i, docs_j>.

    >>> import jax.numpy as jnp
    >>> dot(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [[11.0, 2.0]]
    """
    return jnp.einsum(
        "...id,...jd->...ij",
        queries,
        docs,
        preferred_element_type=_wide(queries),
        # Without this a TPU multiplies float32 in bfloat16 and a GPU in TF32.
        precision="highest",
    )


def cosine(
    queries: Float[Array, "*batch q d"], docs: Float[Array, "*batch m d"]
) -> Float[Array, "*batch q m"]:
    """Cosines of all pairs, in [-1, 1]; 0 where a vector is 0."""
    return dot(normalize(queries), normalize(docs))


def listed(queries: Float[Array, "b d"], docs: Float[Array, "b n d"], score=dot) -> Float[Array, "b n"]:
    """Scores of each query with its own n documents."""
    return score(queries[:, None, :], docs)[:, 0, :]


def _wide(x: Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)
