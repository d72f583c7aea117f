"""Dot products of the vectors against the scores by tokens, in numpy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.term_weights import best_of_each, first_of_each, on_vocabulary, term_weights
from tests.models.tiny import TRUNK, V, draw, hidden, relu, texts, twice

SPECIAL, CONTINUES = (2, 3), (8, 9)
QUERIES = texts([2, 7, 9, 7, 5, 3], [2, 6, 3], [], length=8)
DOCS = texts([2, 7, 8, 9, 7, 7, 5, 3], [2, 5, 9, 6, 3], [], [2, 11, 6, 6, 3])
DEEP = dict(weigh="mlp", terms="first", query="distinct", continues=CONTINUES)
KINDS = {"unicoil": {}, "tilde": dict(query="ones"), "deepimpact": DEEP}


@pytest.fixture(scope="module")
def encoded():
    """Per kind (encoder, parameters, queries [3, v], documents [4, v]) and the hidden states behind them."""
    encoders = {k: term_weights(V, special_ids=SPECIAL, **o, **TRUNK) for k, o in KINDS.items()}
    params = draw(encoders["deepimpact"], seed=3)
    # Most weights are above 0.
    params["weight"]["out"] = {"kernel": 0.4 * params["weight"]["out"]["kernel"], "bias": jnp.ones(1)}

    @jax.jit
    def run(params):
        vectors = {
            k: (e.encode(params, QUERIES, side="query").values, e.encode(params, DOCS, side="doc").values)
            for k, e in encoders.items()
        }
        return vectors, hidden(params, QUERIES), hidden(params, DOCS)

    vectors, *states = jax.device_get(run(params))
    params = jax.device_get(params)
    return {k: (e, params, *vectors[k], *states) for k, e in encoders.items()}


def by_token(params, tokens, states, weigh):
    """Each text's [(token, weight)]."""
    x, weight = np.asarray(states, np.float64), params["weight"]
    if weigh == "mlp":
        x = relu(x @ weight["inner"]["kernel"] + weight["inner"]["bias"])
    u = relu(x @ np.asarray(weight["out"]["kernel"]) + weight["out"]["bias"])[..., 0]
    return [[(int(t), w) for t, w, m in zip(*row) if m] for row in zip(tokens.ids, u, tokens.mask)]


def score(query, doc, kind, never):
    """sum_i q_i max_{l: t_l = t_i} d_l, as each paper has it."""
    total, seen = 0.0, set()
    for token, weight in query:
        matches = [w for t, w in doc if t == token]
        if token in never or not matches or (kind == "deepimpact" and token in seen):
            continue
        seen.add(token)
        best = matches[0] if kind == "deepimpact" else max(matches)
        total += (weight if kind == "unicoil" else 1) * best
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_the_dot_product_is_the_score_by_tokens(encoded, kind):
    encoder, params, q, d, of_queries, of_docs = encoded[kind]
    weigh = KINDS[kind].get("weigh", "linear")
    never = {*SPECIAL, *KINDS[kind].get("continues", ())}
    docs = by_token(params, DOCS, of_docs, weigh)
    queries = by_token(params, QUERIES, of_queries, weigh)
    expected = [[score(a, b, kind, never) for b in docs] for a in queries]
    np.testing.assert_allclose(q.astype(np.float64) @ d.T, expected, rtol=1e-5)
    assert np.count_nonzero(expected) >= 4
    assert not d[:, sorted(never)].any()
    assert (encoder.kind, encoder.dim) == ("sparse", V)
    if kind == "deepimpact":
        table = np.asarray(jax.jit(encoder.table)(params))
        assert table[[7, 9, 2]].tolist() == [1, 0, 0]
        np.testing.assert_array_equal(q, table * (q > 0))
    else:
        assert encoder.table is None


def test_of_equal_weights_the_first_gets_the_gradient():
    ids, weights = jnp.array([[4, 5, 4, 4]]), jnp.array([[1.0, 3.0, 2.0, 2.0]])
    real = jnp.array([[False, True, True, True]])

    def pooled(w):
        kept = best_of_each(ids, jnp.ones_like(real), w)
        return on_vocabulary(ids, kept, w, 6).sum(), first_of_each(ids, real)

    slopes, first = jax.jit(jax.grad(pooled, has_aux=True))(weights)
    assert slopes.tolist() == [[0, 1, 1, 0]]
    assert first.tolist() == [[False, True, True, False]]


def test_gradients_of_towers_layers_and_leading_axes():
    encoder = term_weights(V, towers="separate", special_ids=SPECIAL, **TRUNK)
    params = draw(encoder, seed=3)
    nested = twice(DOCS)

    def total(weights):
        joined = {side: {**params[side], "weight": weights[side]} for side in params}
        (two,) = encoder.encode(joined, nested, side="doc", layers=(1,))
        return two.values.sum(), two.values

    weights = {side: tower["weight"] for side, tower in params.items()}
    gradient, values = jax.device_get(jax.jit(jax.grad(total, has_aux=True))(weights))
    assert values.shape == (2, 4, V)
    np.testing.assert_array_equal(values[0], values[1])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    assert not any(x.any() for x in jax.tree.leaves(gradient["query"]))
    assert gradient["doc"]["out"]["kernel"].any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(weigh="linaer"), "Did you mean 'linear'"),
        (dict(query="ones", towers="separate"), "leave towers='tied'"),
        (dict(continues=(V,)), "continues holds 30"),
        (dict(contineus=()), "Did you mean 'continues'"),
    ],
)
def test_what_does_not_fit_is_said(options, sentence):
    with pytest.raises(InputError, match=sentence):
        term_weights(V, **{**TRUNK, **options})
