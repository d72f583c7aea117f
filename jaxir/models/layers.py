"""Norms, linear maps and the feed-forward part: float32 parameters, computed in the config's dtype."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxir.models.config import GATED, TransformerConfig
from jaxir.models.packing import Layout


@jax.custom_jvp
def gelu(x: Array) -> Array:
    """x Phi(x) with the normal distribution's Phi(x) = (1 + erf(x / sqrt 2)) / 2, in float32.

    ``jax.nn.gelu`` takes erfc for the sake of 16-bit inputs, which costs twice as much on a CPU. The
    derivative is given because it needs one array to be kept for the backward pass, not three.
    """
    y = x.astype(jnp.float32)
    return (y * _phi(y)).astype(x.dtype)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (t,) = primals, tangents
    y = x.astype(jnp.float32)
    slope = _phi(y) + y * jnp.exp(-0.5 * y * y) * (2 * jnp.pi) ** -0.5
    return gelu(x), t * slope.astype(x.dtype)


def _phi(y: Array) -> Array:
    return 0.5 * (1 + jax.lax.erf(y * 0.5**0.5))


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "geglu": gelu,
    "geglu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "swiglu": jax.nn.silu,
}


class Norm(nn.Module):
    """LayerNorm (x - mean) / sqrt(var + eps) or RMSNorm x / sqrt(mean x^2 + eps), in float32.

    Parameters: scale, and for a layernorm with biases also bias.
    """

    config: TransformerConfig
    kind: str | None = None  # None = the config's

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = self.config
        kind = self.kind or c.norm
        width = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.constant(1.0 - c.norm_offset), width)
        y = x.astype(jnp.float32)
        if kind == "layernorm":
            y = y - jnp.mean(y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + c.eps)
        y = y * (scale + c.norm_offset)
        if kind == "layernorm" and (c.bias if c.norm_bias is None else c.norm_bias):
            y = y + self.param("bias", nn.initializers.zeros, width)
        return y.astype(c.dtype)


class FeedForward(nn.Module):
    """down(activation(up x)), gated: down(activation(gate x) * up x). Parameters: up, gate, down."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = self.config
        activation = ACTIVATIONS[c.activation]
        bias = c.bias if c.ff_bias is None else c.ff_bias
        up = dense(c, x, c.ff_size, bias, "up")
        if c.activation in GATED:
            inner = activation(dense(c, x, c.ff_size, bias, "gate")) * up
        else:
            inner = activation(up)
        return dense(c, inner, c.dim, bias, "down")


class Embedding(nn.Module):
    """Rows of a table [rows, dim], in the config's dtype; an id outside it gives NaN."""

    config: TransformerConfig
    rows: int

    @nn.compact
    def __call__(self, ids: Array) -> Array:
        c = self.config
        init = nn.initializers.normal(c.init_std)
        table = self.param("embedding", init, (self.rows, c.dim))
        return table.at[ids].get(mode="fill", fill_value=jnp.nan).astype(c.dtype)


class Dropout(nn.Module):
    """Sets a share of the values to 0 and scales up the rest; ``rate`` in steps of 1/256.

    Four values share one random word: drawing a word for each took a fifth of a training step on a
    CPU, this takes a quarter of that.
    """

    rate: float
    train: bool

    @nn.compact
    def __call__(self, x: Array, places: Layout | None = None) -> Array:
        if not self.train or self.rate == 0:
            return x
        lost = max(round(self.rate * 256), 1)
        width = x.shape[-1]
        # A packed token gets the draw that it has in the padded batch.
        shape = x.shape[:-1] if places is None else places.slot.shape
        words = jax.random.bits(self.make_rng("dropout"), (*shape, -(-width // 4)), jnp.uint32)
        words = words if places is None else places.pack(words)
        draws = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(*x.shape[:-1], -1)
        return jnp.where(draws[..., :width] >= lost, x / (1 - lost / 256), 0)


def dense(config: TransformerConfig, x: Array, features: int, bias: bool, name: str) -> Array:
    """A linear map of the last axis; parameters kernel [inputs, features] and bias.

    All tokens as the rows of one matrix: XLA's CPU backend transposes and copies for a product whose
    rows have two axes, which made a training step a tenth slower.
    """
    rows = x.reshape(-1, x.shape[-1])
    y = nn.Dense(features, use_bias=bias, dtype=jnp.dtype(config.dtype), name=name)(rows)
    return y.reshape(*x.shape[:-1], features)
