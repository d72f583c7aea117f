"""Smaller sizes of an encoder: earlier layers, first dimensions, largest terms; what config says of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.cut import cut
from jaxir.models.encoder import transformer
from jaxir.models.hybrid import hybrid
from jaxir.models.sparse import splade
from jaxir.models.static import static
from jaxir.models.trained_sizes import size_warning, trained_sizes
from jaxir.types import Encoder, Reps
from tests.models.tiny import TRUNK, V, draw, texts

TEXTS = texts([5, 6, 7], [8, 9])
TWO = {**TRUNK, "layers": 2}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_first_dimensions_of_an_earlier_layer_without_the_later_blocks():
    encoder = transformer(V, **TWO)
    params = draw(encoder)
    want = np.asarray(encoder.encode(params, TEXTS, layers=(1,))[0].values)
    params["trunk"]["layers_1"] = jax.tree.map(lambda x: x * jnp.nan, params["trunk"]["layers_1"])
    small = cut(encoder, layers=1, dims=3)
    np.testing.assert_allclose(small.encode(params, TEXTS).values, unit(want[:, :3]), atol=1e-6)
    assert (small.layers, small.dim, small.normalized) == (1, 3, True)
    (same,) = small.encode(params, TEXTS, layers=(1,))
    np.testing.assert_allclose(same.values, unit(want[:, :3]), atol=1e-6)
    assert cut(encoder, layers=2, dims=8) is encoder


def test_largest_terms_of_what_is_encoded_and_not_of_a_table():
    encoder = splade(V, **{**TRUNK, "activation": "log1p_relu"}, query="table")
    params = draw(encoder)
    params["query_weights"] = jnp.arange(1.0, V + 1)
    small = cut(encoder, dims=2)
    whole = np.asarray(encoder.encode(params, TEXTS, side="doc").values)
    kept = np.where(whole >= np.sort(whole)[:, [-2]], whole, 0)
    np.testing.assert_array_equal(small.encode(params, TEXTS, side="doc").values, kept)
    np.testing.assert_array_equal(
        small.encode(params, TEXTS, side="query").values, encoder.encode(params, TEXTS, side="query").values
    )
    assert small.dim == V


def test_first_dimensions_of_each_token():
    reps = Reps(jax.random.normal(jax.random.key(0), (2, 3, 4)), jnp.ones((2, 3), bool))
    encoder = Encoder(None, lambda *_, **__: reps, kind="tokens", dim=4, normalized=True)
    small = cut(encoder, dims=2).encode(None, TEXTS)
    np.testing.assert_allclose(small.values, unit(reps.values[..., :2]), atol=1e-6)
    assert small.mask is reps.mask


@pytest.mark.parametrize(
    ("make", "size", "says"),
    [
        (lambda: transformer(V, **TWO), dict(layers=0), "layers=0: the encoder has layers 1 to 2"),
        (lambda: transformer(V, **TWO), dict(layers=3), "layers=3: the encoder has layers 1 to 2"),
        (lambda: transformer(V, **TWO), dict(dims=9), "dims=9: the encoder has 1 to 8 dimensions"),
        (lambda: transformer(V, **TWO, projection=4), dict(dims=5), "1 to 4 dimensions"),
        (lambda: transformer(V, **TWO), dict(dims=0), "dims=0"),
        (lambda: splade(V), dict(dims=V + 1), f"1 to {V} active terms"),
        (lambda: static(V), dict(layers=1), "layers=1: this encoder has no layers"),
        (lambda: hybrid(V, layers=1, dim=8, heads=2), dict(dims=4), "hybrid.*cut its parts"),
    ],
)
def test_sizes_that_an_encoder_does_not_have(make, size, says):
    with pytest.raises(InputError, match=says):
        cut(make(), **size)


def test_trained_sizes_and_what_is_said_of_others():
    encoder = Encoder(None, None, dim=128, layers=3)
    nested = lambda fn, **sizes: dict(nested=dict(fn=f"jaxir.objectives:{fn}", **sizes))
    assert trained_sizes(dict(nested=None), encoder) is None
    assert trained_sizes(nested("matryoshka_2d", dims=[32, 128]), encoder) == [
        (l, d) for l in (1, 2, 3) for d in (32, 128)
    ]
    config = nested("starbucks", sizes=[[3, 128], [1, 32]])
    assert trained_sizes(config, encoder) == [(1, 32), (3, 128)]
    small = encoder._replace(layers=1, dim=32)
    assert trained_sizes({**config, "size": {"whole": [3, 128]}}, small) == [(1, 32), (3, 128)]
    assert size_warning(config, encoder, layers=1, dims=32) is None
    assert size_warning({}, encoder) is None
    said = size_warning(config, encoder, layers=1)
    assert said.startswith(
        "this model was trained at 1 x 32, 3 x 128 (layers x dimensions): at 1 of 3 layers"
    )
    for word in ("far lower", "jaxir doctor --sizes", "jaxir evaluate --grid"):
        assert word in said
    assert "has no nested" in size_warning({}, encoder, dims=64)
