import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.static import static
from jaxir.types import Tokens

MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
TOKENS = Tokens(jnp.array([[3, 5, 3, 0], [1, 2, 3, 4], [9, 9, 9, 9]]), jnp.asarray(MASK))


def test_it_is_the_weighted_mean():
    encoder = static(20, dim=6, normalize=False)
    params = encoder.init(jax.random.key(0))
    params["token_logit"] = jnp.linspace(-1, 1, 20)
    got = encoder.encode(params, TOKENS).values
    table, weight = np.asarray(params["embedding"]), np.exp(np.asarray(params["token_logit"]))
    for row, ids, real in zip(got[:2], np.asarray(TOKENS.ids), MASK):
        w = weight[ids[real]]
        np.testing.assert_allclose(row, w @ table[ids[real]] / w.sum(), rtol=1e-5)
    assert (got[2] == 0).all()


def test_weights_start_at_one():
    with_weights, without = static(20, dim=6), static(20, dim=6, token_weights=False)
    params = with_weights.init(jax.random.key(0))
    plain = {"embedding": params["embedding"]}
    assert jax.tree.structure(without.init(jax.random.key(0))) == jax.tree.structure(plain)
    np.testing.assert_allclose(
        with_weights.encode(params, TOKENS).values, without.encode(plain, TOKENS).values, atol=1e-6
    )


def test_projection_and_normalisation():
    encoder = static(20, dim=6, projection=3)
    assert (encoder.dim, encoder.normalized, encoder.kind) == (3, True, "dense")
    params = encoder.init(jax.random.key(1))
    got = encoder.encode(params, TOKENS).values
    np.testing.assert_allclose(jnp.linalg.norm(got, axis=-1), [1, 1, 0], atol=1e-6)
    raw = static(20, dim=6, normalize=False).encode(params, TOKENS).values
    projected = raw @ params["projection"]["kernel"]
    np.testing.assert_allclose(
        got[:2], (projected / jnp.linalg.norm(projected, axis=-1, keepdims=True))[:2], atol=1e-5
    )


def test_gradients_are_finite_with_an_empty_text():
    encoder = static(20, dim=6, projection=3)
    params = encoder.init(jax.random.key(1))
    gradient = jax.grad(lambda p: jnp.sum(encoder.encode(p, TOKENS).values ** 3))(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert (gradient["embedding"][9] == 0).all()
    assert (gradient["embedding"][3] != 0).any()
    assert gradient["token_logit"][3] != 0


def test_dropout_leaves_out_whole_tokens_of_the_side_asked():
    encoder = static(200, dim=16, dropout=dict(doc=0.5), normalize=False)
    params = encoder.init(jax.random.key(0))
    tokens = Tokens(jnp.arange(200).reshape(4, 50), jnp.ones((4, 50), bool))
    key = jax.random.key(3)
    full = encoder.encode(params, tokens, side="doc").values
    dropped = encoder.encode(params, tokens, side="doc", key=key).values
    np.testing.assert_array_equal(dropped, encoder.encode(params, tokens, side="doc", key=key).values)
    assert not np.allclose(full, dropped)
    np.testing.assert_array_equal(full, encoder.encode(params, tokens, side="query", key=key).values)
    # The tokens that stay are weighted as if the others had never been there.
    mask = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (4, 50))
    kept = encoder.encode(params, Tokens(tokens.ids, mask), side="doc").values
    np.testing.assert_allclose(dropped, kept, atol=1e-6)


@pytest.mark.parametrize("init", ["normal", "uniform"])
def test_init_spread(init):
    table = static(4000, dim=64, init=init, init_std=0.3).init(jax.random.key(0))["embedding"]
    assert abs(float(table.std()) - 0.3) < 0.01
    assert abs(float(table.mean())) < 0.01


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(dim=0), "dim is 0"),
        (dict(projection=0), "projection is 0"),
        (dict(towers="seperate"), "Did you mean 'separate'"),
        (dict(dropout=1.0), "dropout is 1.0"),
        (dict(dropout=dict(docs=0.1)), "Did you mean 'doc'"),
        (dict(init="gauss"), "unknown init"),
    ],
)
def test_what_does_not_fit_is_said(options, sentence):
    with pytest.raises(InputError, match=sentence):
        static(10, **options)


def test_it_has_no_layers():
    encoder = static(10, dim=4)
    with pytest.raises(InputError, match="no layers"):
        encoder.encode(encoder.init(jax.random.key(0)), TOKENS, layers=(1,))


def test_lowers_for_every_platform():
    encoder = static(20, dim=6)
    params = encoder.init(jax.random.key(0))

    def loss(params, tokens):
        return jnp.sum(encoder.encode(params, tokens, key=jax.random.key(0)).values ** 3)

    step = jax.jit(jax.value_and_grad(loss))
    exported = jax.export.export(step, platforms=["cpu", "cuda", "tpu"])(params, TOKENS)
    np.testing.assert_allclose(exported.call(params, TOKENS)[0], step(params, TOKENS)[0], rtol=1e-5)
