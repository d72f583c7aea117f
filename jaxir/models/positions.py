"""Where a token stands: position numbers, rotary angles, relative buckets, attention masks.

Positions count the real tokens of a text, so padding on the left, on the right or on both sides
changes nothing.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxir.models.rotary import Scaling, frequencies


def position_ids(mask: Bool[Array, "b l"]) -> Int[Array, "b l"]:
    """0, 1, 2, ... over each row's real tokens; padding gets its last real token's (or 0).

    >>> position_ids(jnp.array([[False, True, True, False]])).tolist()
    [[0, 0, 1, 1]]
    """
    return jnp.maximum(jnp.cumsum(mask.astype(jnp.int32), axis=-1) - 1, 0)


def rotary_angles(
    positions: Int[Array, "b l"], head_dim: int, theta: float, scaling: Scaling | None = None
) -> tuple[Float[Array, "b l 1 h"], Float[Array, "b l 1 h"]]:
    """(cos, sin) of position * theta^(-2i / head_dim) for i < head_dim / 2, in float32.

    ``scaling`` changes the wavelengths, see :func:`jaxir.models.rotary.frequencies`.
    """
    turns, magnitude = frequencies(head_dim, theta, scaling)
    angles = positions[..., None, None].astype(jnp.float32) * turns
    return magnitude * jnp.cos(angles), magnitude * jnp.sin(angles)


def rotate(
    x: Float[Array, "b l n d"], angles: tuple[Float[Array, "b l 1 h"], Float[Array, "b l 1 h"]]
) -> Float[Array, "b l n d"]:
    """Rotary position embedding: turns the pairs (x_i, x_{i + d/2}) by their angles.

    The halves are paired as in Llama, Qwen and ModernBERT, not neighbours as in GPT-J.
    References: Su et al. 2021 (arXiv:2104.09864).
    """
    cos, sin = angles
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def relative_buckets(length: int, buckets: int, distance: int, causal: bool = False) -> Int[Array, "l l"]:
    """T5's bucket of (key position - query position): exact when near, logarithmic when far.

    In a bidirectional model one half of the buckets is for keys before the query, one for those
    after it. Everything at ``distance`` or farther shares the last bucket of its half.
    References: Raffel et al. 2020 (arXiv:1910.10683).
    """
    span = jnp.arange(length)
    offset = span[None, :] - span[:, None]
    start = jnp.zeros_like(offset)
    if causal:
        far = jnp.maximum(-offset, 0)
    else:
        buckets //= 2
        start = jnp.where(offset > 0, buckets, 0)
        far = jnp.abs(offset)
    exact = buckets // 2
    steps = jnp.log(jnp.maximum(far, 1).astype(jnp.float32) / exact) / jnp.log(distance / exact)
    logarithmic = jnp.minimum(exact + (steps * (buckets - exact)).astype(jnp.int32), buckets - 1)
    return start + jnp.where(far < exact, far, logarithmic)


def attention_mask(
    mask: Bool[Array, "b l"], *, causal: bool = False, window: int = 0
) -> Bool[Array, "b 1 t l"]:
    """Which keys each query sees; t is 1 where all queries of a text see the same keys.

    ``window`` is the farthest visible distance (0 = everything), so ``window=64`` sees 64 tokens to
    each side, or 64 back when causal.
    """
    visible = mask[:, None, None, :]
    if not causal and not window:
        return visible
    span = jnp.arange(mask.shape[-1])
    back = span[:, None] - span[None, :]  # how far the key lies before the query
    near = jnp.abs(back) <= window if window else jnp.ones_like(back, bool)
    if causal:
        near &= back >= 0
    return visible & near
