"""Encoding in chunks: the same values and gradients, replayed dropout, the memory of one chunk."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.padding import packing
from jaxir.models.encoder import transformer
from jaxir.objectives import chunked
from jaxir.types import Tokens

TRUNK = dict(layers=2, dim=16, heads=2, ff_dim=24)


def texts(b=10, n=2, l=6, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, l + 1, (b, n))
    ids = rng.integers(0, 50, (b, n, l)).astype(np.int32)
    return Tokens(ids, np.arange(l) < lengths[..., None]), lengths


@functools.cache
def graded(rows=None):
    """Value and gradient, in chunks where ``rows`` is given."""
    encoder, (tokens, _) = transformer(50, **TRUNK), texts()
    params = encoder.init(jax.random.key(0))
    target = jax.random.normal(jax.random.key(1), (10, 2, 16))
    encode = (chunked(encoder, rows) if rows else encoder).encode
    values = lambda p: encode(p, tokens, side="doc", layers=(1, 2))
    return jax.jit(jax.value_and_grad(lambda p: sum(jnp.sum(r.values * target) for r in values(p))))(params)


@pytest.mark.parametrize("rows", [4, 5, 99])
def test_values_and_gradients_for_sizes_that_divide_and_that_do_not(rows):
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, graded(rows), graded())


def noisy(b=6):
    """An encoder with dropout, of which a mask changes much, and its chunks of two rows."""
    encoder = transformer(50, **{**TRUNK, "layers": 1}, dropout=0.5)
    return encoder, chunked(encoder, 2), texts(b)[0]


def test_dropout_is_replayed():
    """The gradient is that of GradCache by hand, with each chunk's own key in both passes."""
    plain, encoder, tokens = noisy()
    params, key = plain.init(jax.random.key(0)), jax.random.key(7)
    loss = lambda values: jnp.sum(jnp.square(values)[:, 0, :3]) + jnp.sum(values[:, 1])
    got = jax.jit(jax.grad(lambda p: loss(encoder.encode(p, tokens, side="doc", key=key).values)))(params)

    @jax.jit
    def by_hand(replay):
        rows = [np.arange(i, 6, 3) for i in range(3)]
        parts = [jax.tree.map(lambda x, r=r: x[r], tokens._replace(packed=None)) for r in rows]

        def encode(p, i, k):
            return plain.encode(p, parts[i], side="doc", key=jax.random.fold_in(k, i)).values

        values = jnp.zeros((6, 2, 16))
        for i in range(3):
            values = values.at[rows[i]].set(encode(params, i, key))
        slope = jax.grad(loss)(values)
        total = jax.tree.map(jnp.zeros_like, params)
        for i in range(3):
            _, pull = jax.vjp(lambda p, i=i: encode(p, i, replay), params)
            total = jax.tree.map(jnp.add, total, pull(slope[rows[i]])[0])
        return total

    far = lambda a, b: max(float(jnp.abs(x - y).max()) for x, y in zip(*map(jax.tree.leaves, (a, b))))
    assert far(got, by_hand(key)) < 1e-4
    assert far(got, by_hand(jax.random.key(8))) > 1e-2  # other masks in the second pass


def test_chunks_of_packed_texts():
    encoder, (tokens, lengths) = transformer(50, **TRUNK), texts(b=12)
    params = encoder.init(jax.random.key(0))
    plain = encoder.encode(params, tokens, side="doc").values
    for groups in (4, 3):  # one for each of the four chunks; another number is not used
        packed = tokens._replace(packed=packing(lengths, 6, groups, step=2))
        encode = chunked(encoder, 3).encode
        got = jax.jit(lambda p, t, encode=encode: encode(p, t, side="doc").values)(params, packed)
        np.testing.assert_allclose(got, plain, atol=1e-5)


def test_memory_is_that_of_a_chunk():
    encoder, (tokens, _) = transformer(50, layers=2, dim=32, heads=2), texts(b=256, l=16)
    params = encoder.init(jax.random.key(0))

    def temporaries(encoder):
        grad = jax.grad(lambda p: jnp.sum(encoder.encode(p, tokens, side="doc").values ** 3))
        return jax.jit(grad).lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(chunked(encoder, 8)) < temporaries(encoder) / 8


def test_a_chunk_of_nothing():
    with pytest.raises(InputError, match="rows of a chunk"):
        chunked(transformer(50, **TRUNK), 0)
