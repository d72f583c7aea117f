import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.casper import add_phrases, casper
from jaxir.models.sparse import splade
from tests.models.tiny import TRUNK, V, draw, hidden, relu, texts

TEXTS = texts([2, 7, 9, 7, 5, 3], [2, 6, 3], [])
SMALL = {k: v for k, v in TRUNK.items() if k != "activation"} | {"trunk_activation": "relu"}
PHRASES = 6
TOKENS = V - PHRASES
HEAD = dict(transform=False)


@pytest.fixture(scope="module")
def made():
    summed = casper(TOKENS, phrases=PHRASES, head=HEAD, **SMALL)
    rooted = casper(TOKENS, phrases=PHRASES, phrase_pooling="mean_sqrt", head=HEAD, top_k=9, **SMALL)
    params = draw(summed)

    def run(head):
        both = [e.encode(params | {"mlm": head}, TEXTS, side="doc").values for e in (summed, rooted)]
        return both[0].sum(), (*both, hidden(params, TEXTS))

    gradient, vectors = jax.jit(jax.grad(run, has_aux=True))(params["mlm"])
    return summed, *jax.device_get((params, vectors, gradient))


def test_tokens_are_max_pooled_and_phrases_summed(made):
    encoder, params, (summed, rooted, states), _ = made
    table = np.asarray(params["trunk"]["token_embedding"]["embedding"], np.float64)
    mask = np.asarray(TEXTS.mask)[..., None]
    weights = np.where(mask, np.log1p(relu(np.asarray(states) @ table.T + params["mlm"]["bias"])), 0)
    tokens, phrases = weights.max(1)[:, :TOKENS], weights.sum(1)[:, TOKENS:]
    np.testing.assert_allclose(summed, np.hstack([tokens, phrases]), rtol=1e-4, atol=1e-6)
    count = np.maximum(mask.sum(1), 1)
    whole = np.hstack([tokens, phrases / np.sqrt(count)])
    kept = np.where(whole >= np.sort(whole)[:, -9, None], whole, 0)
    np.testing.assert_allclose(rooted, kept, rtol=1e-4, atol=1e-6)
    assert (encoder.kind, encoder.dim) == ("sparse", V)


def test_gradients_reach_tokens_and_phrases(made):
    gradient = made[3]["bias"]
    assert np.isfinite(gradient).all()
    assert gradient[:TOKENS].any()
    assert gradient[TOKENS:].any()


def test_without_phrases_it_is_splade():
    one, other = casper(V, phrases=0, head=HEAD, **SMALL), splade(V, head=HEAD, **SMALL)
    params = draw(one)
    both = jax.jit(lambda p: [e.encode(p, TEXTS, side="doc").values for e in (one, other)])(params)
    np.testing.assert_array_equal(*both)


def test_phrases_begin_as_the_mean_of_their_tokens():
    base = splade(TOKENS, head=HEAD | dict(tied=False), **SMALL)
    params, phrases = draw(base), [[3, 4], [5], [5, 5, 6], [1, 2], [7, 8], [9]]
    grown = add_phrases(params, phrases)
    target = casper(TOKENS, phrases=PHRASES, head=HEAD | dict(tied=False), **SMALL)
    shapes = jax.eval_shape(target.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, grown) == jax.tree.map(jnp.shape, shapes)
    for path in (("trunk", "token_embedding", "embedding"), ("mlm", "bias"), ("mlm", "decoder", "kernel")):
        old, new = params, grown
        for name in path:
            old, new = old[name], new[name]
        old, new = (np.asarray(x).T if path[-1] == "kernel" else np.asarray(x) for x in (old, new))
        np.testing.assert_array_equal(new[:TOKENS], old)
        np.testing.assert_allclose(new[TOKENS:], [old[np.array(p)].mean(0) for p in phrases], rtol=1e-5)


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="phrases is -1"):
        casper(V, phrases=-1, **SMALL)
    with pytest.raises(InputError, match="Did you mean 'sum'"):
        casper(V, phrases=1, phrase_pooling="sums", **SMALL)
    with pytest.raises(InputError, match="phrase 1 has no tokens"):
        add_phrases({}, [[1], []])
