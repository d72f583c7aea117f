import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.models.config import TransformerConfig
from jaxir.models.layers import ACTIVATIONS, Dropout, Norm


@pytest.mark.parametrize("width", [64, 61])
def test_dropout_keeps_the_mean_and_loses_its_share(width):
    x = jnp.ones((500, width))
    layer = Dropout(0.25, train=True)
    got = layer.apply({}, x, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_allclose(np.unique(got), [0, 4 / 3], rtol=1e-6)
    lost = np.asarray(got == 0)
    assert abs(lost.mean() - 0.25) < 0.01
    # Neighbours share a random word and must still be independent.
    assert abs((lost[:, :-1] & lost[:, 1:]).mean() - 0.0625) < 0.01


def test_dropout_only_in_training():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Dropout(0.5, train=False).apply({}, x), x)
    np.testing.assert_array_equal(Dropout(0.0, train=True).apply({}, x), x)


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_norms_are_float32_for_bfloat16_too(kind):
    config = TransformerConfig(10, norm=kind, dtype="bfloat16", norm_offset=1.0, bias=True)
    x = jnp.asarray(100 + np.random.default_rng(0).normal(size=(4, 32)), jnp.bfloat16)
    layer = Norm(config)
    params = layer.init(jax.random.key(0), x)["params"]
    assert sorted(params) == (["bias", "scale"] if kind == "layernorm" else ["scale"])
    np.testing.assert_array_equal(params["scale"], 0)  # the offset makes it 1
    got = layer.apply({"params": params}, x)
    assert got.dtype == jnp.bfloat16
    y = np.asarray(x, np.float64)
    y = y - y.mean(-1, keepdims=True) if kind == "layernorm" else y
    want = y / np.sqrt((y**2).mean(-1, keepdims=True) + config.eps)
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gelu_is_the_exact_one(dtype):
    x = jnp.linspace(-6, 6, 97).astype(dtype)
    exact = np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x.tolist()])
    tolerance = dict(atol=1e-6) if dtype == "float32" else dict(rtol=2**-8, atol=1e-6)
    got = ACTIVATIONS["gelu"](x)
    assert got.dtype == x.dtype
    np.testing.assert_allclose(np.asarray(got, np.float64), exact, **tolerance)
    slope = jax.vmap(jax.grad(ACTIVATIONS["gelu"]))(x)
    want = jax.vmap(jax.grad(functools.partial(jax.nn.gelu, approximate=False)))(x.astype(jnp.float32))
    np.testing.assert_allclose(slope.astype(jnp.float32), want, **tolerance)


def test_tanh_gelu_is_another():
    assert abs(float(ACTIVATIONS["gelu_tanh"](jnp.float32(1.0))) - 0.841192) < 1e-6
