import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models import attention
from jaxir.models.positions import attention_mask


def inputs(heads=6, kv_heads=2, length=5, seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(3, length, heads, 4))
    key, value = rng.normal(size=(2, 3, length, kv_heads, 4))
    bias = rng.normal(size=(1, heads, length, length))
    real = rng.random((3, length)) < 0.7
    real[:, 0], real[2] = True, False  # the last text is empty
    return *(jnp.asarray(x, jnp.float32) for x in (query, key, value, bias)), jnp.asarray(real)


@pytest.mark.parametrize(
    ("kv_heads", "with_bias", "causal"), [(1, True, False), (2, False, True), (6, True, True)]
)
def test_the_cpu_form_equals_jax_nn(kv_heads, with_bias, causal):
    query, key, value, bias, real = inputs(kv_heads=kv_heads)
    mask = attention_mask(real, causal=causal, window=3 if causal else 0)
    bias = bias if with_bias else None

    def loss(form, query, key, value):
        mixed = form(query, key, value, mask, bias, scale=0.3)
        return jnp.sum(jnp.where(real[..., None, None], mixed, 0) ** 3), mixed

    gradient = jax.jit(jax.grad(loss, argnums=(1, 2, 3), has_aux=True), static_argnums=0)
    our_gradient, ours = gradient(attention._plain, query, key, value)
    their_gradient, theirs = gradient(attention._xla, query, key, value)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), our_gradient, their_gradient)
    assert np.isfinite(ours).all()


def test_auto_is_the_cpu_form_here():
    query, key, value, _, real = inputs()
    mask = attention_mask(real)
    got = attention.attend(query, key, value, mask, scale=0.5)
    np.testing.assert_array_equal(got, attention._plain(query, key, value, mask, None, scale=0.5))


def test_cudnn_without_a_gpu_is_said_in_a_sentence():
    query, key, value, _, real = inputs()
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        attention.attend(query, key, value, attention_mask(real), scale=0.5, implementation="cudnn")


def test_a_softcap_bounds_the_logits_before_bias_and_mask():
    query, key, value, bias, real = inputs()
    mask, cap = attention_mask(real, causal=True), 0.7
    got = attention.attend(query, key, value, mask, bias, scale=2.0, softcap=cap, implementation="xla")
    q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
    for b, t, n in ((0, 4, 0), (0, 2, 5), (1, 3, 3)):
        logits = 2.0 * k[b, :, n // 3] @ q[b, t, n]
        logits = cap * np.tanh(logits / cap) + np.asarray(bias)[0, n, t]
        share = np.where(mask[b, 0, t], np.exp(logits), 0)
        np.testing.assert_allclose(got[b, t, n], share / share.sum() @ v[b, :, n // 3], atol=1e-6)


def test_cudnn_with_a_softcap_is_said_in_a_sentence():
    query, key, value, _, real = inputs()
    mask = attention_mask(real)
    with pytest.raises(InputError, match="has no softcap"):
        attention.attend(query, key, value, mask, scale=0.5, softcap=1.0, implementation="cudnn")
