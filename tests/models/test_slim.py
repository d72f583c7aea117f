import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.slim import fuse, slim, slim_score
from tests.models.tiny import TRUNK, V, draw, hidden, relu, texts, twice

K = 4
SMALL = {k: v for k, v in TRUNK.items() if k != "activation"} | {"trunk_activation": "relu"}
OPTIONS = dict(top_k=K, head=dict(transform=False), tile=8, **SMALL)
QUERIES, DOCS = texts([2, 7, 9, 5], [2, 6, 3], length=6), texts([2, 7, 9, 7, 5, 3], [2, 6], [])


@pytest.fixture(scope="module")
def made():
    """Parameters, sets and fused vectors of both sides, and scores; all of one program."""
    late, first = slim(V, fused=False, **OPTIONS), slim(V, **OPTIONS)
    params = draw(late)

    def run(params):
        q, d = late.encode(params, QUERIES, side="query"), late.encode(params, DOCS, side="doc")
        fused = (
            first.encode(params, QUERIES, side="query").values,
            first.encode(params, DOCS, side="doc").values,
        )
        return q, d, *fused, slim_score(q.values, d.values), hidden(params, QUERIES), hidden(params, DOCS)

    return jax.device_get((params, jax.jit(run)(params)))


def by_hand(params, states, tokens):
    """phi [n, l, v]: K weights of each token but the first."""
    table = np.asarray(params["trunk"]["token_embedding"]["embedding"], np.float64)
    z = np.asarray(states, np.float64) @ table.T + np.asarray(params["mlm"]["bias"], np.float64)
    w = np.where(z >= np.sort(z, axis=-1)[..., -K, None], np.log1p(relu(z)), 0)
    w[:, 0] = 0
    return np.where(np.asarray(tokens.mask)[..., None], w, 0)


def spread(values):
    """Sets [n, l, 2 k] as vectors over the vocabulary [n, l, v]."""
    whole = np.zeros((*values.shape[:2], V))
    for at in np.ndindex(values.shape[:2]):
        for weight, number in zip(values[at][:K], values[at][K:]):
            whole[at][int(number)] += weight
    return whole


def test_sets_and_scores_are_the_formulas(made):
    params, (q, d, q_fused, d_fused, scores, of_queries, of_docs) = made
    phi_q, phi_d = by_hand(params, of_queries, QUERIES), by_hand(params, of_docs, DOCS)
    np.testing.assert_allclose(spread(q.values), phi_q, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(spread(d.values), phi_d, rtol=1e-4, atol=1e-6)
    assert d.mask.sum(1).tolist() == [5, 1, 0]
    expected = np.einsum("xiv,ylv->xyil", phi_q, phi_d).max(-1).sum(-1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    # The first stage: never below, and equal where the document has one token.
    np.testing.assert_allclose(q_fused, phi_q.sum(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(d_fused, phi_d.max(1), rtol=1e-4, atol=1e-6)
    bound = q_fused @ d_fused.T
    assert (scores <= bound + 1e-5).all()
    assert scores[0, 0] < bound[0, 0]
    np.testing.assert_allclose(scores[:, 1], bound[:, 1], rtol=1e-5)
    assert (scores[:, 2] == 0).all()


def test_the_gradient_of_an_entry_goes_to_one_position():
    first = slim(V, **OPTIONS)
    nested = twice(DOCS)

    params = draw(first)

    def total(head):
        (x,) = first.encode(params | {"mlm": head}, nested, side="doc", layers=(1,))
        return jnp.sum(x.values), x.values

    gradient, values = jax.device_get(jax.jit(jax.grad(total, has_aux=True))(params["mlm"]))
    assert values.shape == (2, 3, V)
    # Each active entry has one position that it came from: slope 1 / (1 + z) = exp(-weight) there.
    slope = np.where(values > 0, np.exp(-values), 0).sum((0, 1))
    np.testing.assert_allclose(gradient["bias"], slope, rtol=1e-5, atol=1e-6)


def test_ties_of_the_maximum_go_to_the_first_position():
    sets = jnp.array([[[2.0, 1.0, 5, 6], [2.0, 3.0, 5, 6]]])
    slopes = jax.jit(jax.grad(lambda x: fuse(x, "doc", 8).sum()))(sets)[0]
    assert slopes[:, :2].tolist() == [[1, 0], [0, 1]]


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="top_k is 0"):
        slim(V, **OPTIONS | {"top_k": 0})
    with pytest.raises(InputError, match="Did you mean 'skip_first'"):
        slim(V, skipfirst=True, **OPTIONS)
