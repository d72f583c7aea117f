"""Multi-head attention with grouped key/value heads, by the implementation that suits the device."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxir.checks import InputError
from jaxir.models.config import TransformerConfig
from jaxir.models.layers import Norm, dense
from jaxir.models.packing import Layout
from jaxir.models.positions import rotate

HIDDEN = -1e30  # the logit of an invisible key: finite, so that a row without any key is no NaN


class Attention(nn.Module):
    """Parameters: query, key, value, out; with qk_norm also query_norm and key_norm.

    With ``places`` the states are packed, [1, t, d], while the mask is that of the texts, [b, 1, t, l].
    """

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        bias: Array | None,
        angles: tuple | None,
        places: Layout | None = None,
    ) -> Array:
        c = self.config
        with_bias = c.bias if c.qkv_bias is None else c.qkv_bias

        def heads(name: str, count: int) -> Array:
            y = dense(c, x, count * c.head_size, with_bias, name)
            return y.reshape(*x.shape[:-1], count, c.head_size)

        query, key = heads("query", c.heads), heads("key", c.kv_size)
        value = heads("value", c.kv_size)
        if c.qk_norm:
            query = Norm(c, kind="rmsnorm", name="query_norm")(query)
            key = Norm(c, kind="rmsnorm", name="key_norm")(key)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        if places is not None:
            query, key, value = map(places.spread, (query, key, value))
        scale = c.head_size**-0.5 if c.attention_scale is None else c.attention_scale
        mixed = attend(
            query,
            key,
            value,
            mask,
            bias,
            scale=scale,
            softcap=c.attention_softcap,
            implementation=c.attention,
        )
        if places is not None:
            mixed = places.pack(mixed)
        mixed = mixed.reshape(*x.shape[:-1], c.heads * c.head_size)
        return dense(c, mixed, c.dim, c.bias, "out")


def attend(
    query: Float[Array, "b t n d"],
    key: Float[Array, "b s k d"],
    value: Float[Array, "b s k d"],
    mask: Bool[Array, "b 1 #t s"],
    bias: Float[Array, "1 n t s"] | None = None,
    *,
    scale: float,
    softcap: float | None = None,
    implementation: str = "auto",
) -> Float[Array, "b t n d"]:
    """softmax(scale q.k + bias over visible keys) v; the softmax is float32.

    ``softcap`` c bounds the logits before the bias: c tanh(scale q.k / c). Neither cuDNN nor
    ``jax.nn`` has it, so every platform then runs the form written out here.

    n query heads share k key/value heads in groups of n / k neighbours. A query that sees no key gets
    some average of the values, never NaN: nothing may read it.

    ``implementation``: ``xla``; ``cudnn`` (flash attention, NVIDIA only, bfloat16); ``auto`` takes
    cuDNN where the program runs on a CUDA device that has it and the shapes allow it, XLA elsewhere.

    Raises:
      InputError: ``cudnn`` without an NVIDIA GPU, or with a softcap.
    """
    if softcap is not None:
        if implementation == "cudnn":
            raise InputError("attention='cudnn' has no softcap: use attention='auto' or 'xla'")
        return _plain(query, key, value, mask, bias, scale=scale, softcap=softcap)
    xla = functools.partial(_xla, scale=scale)
    cpu = functools.partial(_plain, scale=scale)
    cudnn = functools.partial(_cudnn, scale=scale)
    if implementation == "cudnn":
        if jax.default_backend() != "gpu":
            raise InputError(
                "attention='cudnn' needs an NVIDIA GPU, and this process runs on "
                f"{jax.default_backend()}: use attention='auto'"
            )
        return cudnn(query, key, value, mask, bias)
    branches = {"cpu": cpu}
    if implementation == "auto" and bias is None and _cudnn_can(query):
        branches["cuda"] = cudnn
    # Decided when the program is lowered, so that one export serves every platform.
    return jax.lax.platform_dependent(query, key, value, mask, bias, **branches, default=xla)


def _xla(query, key, value, mask, bias, *, scale):
    return jax.nn.dot_product_attention(query, key, value, bias, mask, scale=scale, implementation="xla")


def _cudnn(query, key, value, mask, bias, *, scale):
    full = (mask.shape[0], 1, query.shape[1], key.shape[1])  # cuDNN does not broadcast over queries
    mask = jnp.broadcast_to(mask, full)
    return jax.nn.dot_product_attention(query, key, value, bias, mask, scale=scale, implementation="cudnn")


def _cudnn_can(query: Array) -> bool:
    """Whether this process has a CUDA device with flash attention for such queries."""
    if jax.default_backend() != "gpu" or query.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    capability = getattr(jax.local_devices(backend="gpu")[0], "compute_capability", "")
    major = capability.partition(".")[0]
    ampere = major.isdigit() and int(major) >= 8  # ROCm's says "gfx..."
    _, length, _, width = query.shape
    return ampere and length % 2 == 0 and width % 8 == 0 and width <= 128


def _plain(query, key, value, mask, bias, *, scale, softcap=None):
    """The same with the heads in front, explicitly: about twice as fast on a CPU.

    XLA's CPU matrix product wants the batch dimensions first; left to itself it folds the transposes
    of ``jax.nn.dot_product_attention`` into slow strided products.
    """
    b, t, n, d = query.shape
    s, k = key.shape[1:3]
    query = query.reshape(b, t, k, n // k, d).transpose(0, 2, 3, 1, 4).reshape(b, k, n // k * t, d)
    key, value = key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)
    logits = jnp.einsum("bkxd,bksd->bkxs", query, key, preferred_element_type=jnp.float32)
    logits = logits.reshape(b, n, t, s) * scale
    if softcap is not None:
        logits = softcap * jnp.tanh(logits / softcap)
    if bias is not None:
        logits = logits + bias
    logits = jnp.where(mask, logits, HIDDEN)
    # Divided by their sum after the product with the values, which are fewer than the keys.
    shares = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    total = jnp.sum(shares, axis=-1, keepdims=True)
    shares = shares.astype(value.dtype).reshape(b, k, n // k * t, s)
    mixed = jnp.einsum("bkxs,bksd->bkxd", shares, value, preferred_element_type=jnp.float32)
    mixed = (mixed.reshape(b, n, t, d) / total).astype(value.dtype)
    return mixed.transpose(0, 2, 1, 3)
