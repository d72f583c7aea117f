import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.prosper import prosper
from tests.models.tiny import TRUNK, V, draw, hidden, relu, texts, twice

TEXTS = texts([2, 7, 9, 7, 5, 3], [2, 6, 3], [])
OPTIONS = dict(head=dict(transform=False), special_ids=(2, 3), top_k=dict(query=4, doc=6), expose_base=True)


@pytest.fixture(scope="module")
def made():
    """Parameters, the vectors of both sides, and those after a constant was added to the FC's bias."""
    encoder = prosper(V, **OPTIONS, **TRUNK)
    params = draw(encoder)
    moved = params | {"literal": params["literal"] | {"bias": params["literal"]["bias"] + 3}}

    @jax.jit
    def run(params):
        vectors = [encoder.encode(params, TEXTS, side=side).values for side in ("query", "doc")]
        return *vectors, encoder.parts["sparse"].encode(params, TEXTS, side="doc").values

    states = jax.jit(lambda p: hidden(p, TEXTS, causal=True))(params)
    return encoder, *jax.device_get((params, run(params), run(moved), states))


def base_and_whole(params, states):
    """w and W of each text, from the formulas."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    table = params["trunk"]["token_embedding"]["embedding"]
    base, whole = np.zeros((3, V)), np.zeros((3, V))
    for i, (h, ids, mask) in enumerate(zip(states, *map(np.asarray, TEXTS[:2]))):
        if mask.any():
            last = np.asarray(h, np.float64)[mask.sum() - 1]
            base[i] = np.log1p(relu(last @ table.T + params["mlm"]["bias"]))
            fc = np.log1p(relu(last)) @ params["literal"]["kernel"] + params["literal"]["bias"]
            own = np.isin(np.arange(V), np.setdiff1d(ids[mask], [2, 3]))
            whole[i] = base[i] + own * (fc.max() - fc)
    return base, whole


def test_it_is_the_formula(made):
    encoder, params, (q, d, part), _, states = made
    base, whole = base_and_whole(params, states)
    cut = lambda k: np.where(whole >= np.sort(whole)[:, -k, None], whole, 0)
    length = np.linalg.norm(cut(4), axis=1, keepdims=True)
    np.testing.assert_allclose(q[:, :V], cut(4) / np.where(length > 0, length, 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(d[:, :V], cut(6), rtol=1e-4, atol=1e-6)
    assert (whole >= base).all()
    raised = [set(np.flatnonzero(row).tolist()) for row in whole - base]
    assert raised[0] | raised[1]
    assert raised[0] <= {5, 7, 9}
    assert raised[1] <= {6}
    # What FLOPS may see, and what does not change the score.
    np.testing.assert_allclose(q[:, V : 2 * V], base, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(d[:, 2 * V :], base, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(q @ d.T, q[:, :V] @ d[:, :V].T, rtol=1e-6)
    np.testing.assert_array_equal(part, d[:, :V])
    assert (encoder.kind, encoder.dim, encoder.parts["sparse"].dim) == ("hybrid", 3 * V, V)


def test_a_constant_in_the_residual_changes_nothing(made):
    for one, other in zip(made[2], made[3]):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_and_reach_the_literal_terms():
    encoder = prosper(V, **OPTIONS | {"expose_base": False}, **TRUNK)
    nested = twice(TEXTS)

    params = draw(encoder)

    def total(literal):
        (x,) = encoder.encode(params | {"literal": literal}, nested, side="query", layers=(1,))
        return jnp.sum(x.values**3), x.values

    gradient, values = jax.device_get(jax.jit(jax.grad(total, has_aux=True))(params["literal"]))
    assert values.shape == (2, 3, V)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    assert gradient["bias"].any()
    assert (encoder.kind, encoder.parts) == ("sparse", None)


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="top_k is 0"):
        prosper(V, top_k=dict(doc=0), **TRUNK)
    with pytest.raises(InputError, match="Did you mean 'expose_base'"):
        prosper(V, expos_base=True, **TRUNK)
