import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.concatenation import concatenate, concatenated
from jaxir.models.hybrid import hybrid
from jaxir.models.static import static
from tests.models.tiny import TRUNK, V, draw, hidden, relu, texts, twice

TEXTS = texts([2, 7, 9, 7, 5, 3], [2, 6, 3], [])
SMALL = {k: v for k, v in TRUNK.items() if k != "activation"} | {"trunk_activation": "relu"}
HEAD = dict(transform=False)


def vocabulary_weights(params, states, mask):
    """max over the real positions of log(1 + relu(h E^T + b))."""
    table = np.asarray(params["trunk"]["token_embedding"]["embedding"], np.float64)
    logits = np.asarray(states, np.float64) @ table.T + params["mlm"]["bias"]
    return np.max(np.where(np.asarray(mask)[..., None], np.log1p(relu(logits)), 0), axis=1)


def largest(values, k):
    return np.where(values >= np.sort(values)[:, -k, None], values, 0)


@pytest.fixture(scope="module")
def tied():
    encoder = hybrid(
        V,
        pooling="mean",
        projection=4,
        head=HEAD,
        blocked_ids=(5, 6),
        block_on=("doc",),
        top_k=dict(doc=4),
        **SMALL,
    )
    params = draw(encoder)

    @jax.jit
    def run(params):
        made = {
            side: (
                encoder.encode(params, TEXTS, side=side).values,
                *(encoder.parts[name].encode(params, TEXTS, side=side).values for name in encoder.parts),
            )
            for side in ("query", "doc")
        }
        return made, hidden(params, TEXTS)

    return encoder, *jax.device_get((params, *run(params)))


def test_both_parts_stand_one_after_the_other(tied):
    encoder, params, made, states = tied
    whole = vocabulary_weights(params, states, TEXTS.mask)
    blocked = np.where(np.isin(np.arange(V), (5, 6)), 0, whole)
    sparse = {"query": whole, "doc": np.vstack([largest(blocked[:2], 4), blocked[2:]])}
    mean = [h[: m.sum()].mean(0) for h, m in zip(states.astype(np.float64), np.asarray(TEXTS.mask)[:2])]
    dense = np.stack(mean) @ params["projection"]["kernel"]
    dense = np.vstack([dense / np.linalg.norm(dense, axis=1, keepdims=True), np.zeros((1, 4))])
    for side, (values, first, second) in made.items():
        np.testing.assert_allclose(first, dense, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(second, sparse[side], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(values, np.concatenate([first, second], axis=-1))
    assert (encoder.kind, encoder.dim, encoder.normalized) == ("hybrid", 4 + V, False)
    parts = {name: (e.kind, e.dim, e.normalized) for name, e in encoder.parts.items()}
    assert parts == {"dense": ("dense", 4, True), "sparse": ("sparse", V, False)}


def test_towers_layers_leading_axes_and_gradients():
    encoder = hybrid(V, towers="separate", normalize=False, head=HEAD, top_k=5, **SMALL)
    params = draw(encoder)
    nested = twice(TEXTS)

    def total(params):
        (two,) = encoder.encode(params, nested, side="doc", layers=(1,))
        (part,) = encoder.parts["dense"].encode(params, nested, side="doc", layers=(1,))
        return two.values.sum(), (two.values, part.values)

    gradient, (values, dense) = jax.device_get(jax.jit(jax.grad(total, has_aux=True))(params))
    np.testing.assert_array_equal(values[..., :8], dense)
    np.testing.assert_array_equal(values[0], values[1])
    assert ((values[..., 8:] > 0).sum(-1) <= 5).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    assert not any(x.any() for x in jax.tree.leaves(gradient["query"]))
    assert gradient["doc"]["mlm"]["bias"].any()


def test_the_trunk_runs_once():
    encoder = hybrid(V, head=HEAD, **SMALL)
    params = jax.eval_shape(encoder.init, jax.random.key(0))
    products = {
        name: str(jax.make_jaxpr(lambda p, e=e: e.encode(p, TEXTS).values)(params)).count("dot_general")
        for name, e in {"hybrid": encoder, **encoder.parts}.items()
    }
    # A product more than the dense part's: the one with the vocabulary.
    assert products["hybrid"] == products["sparse"] == products["dense"] + 1


def test_concatenated_encoders_score_the_weighted_sum():
    one, two = static(V, dim=3), static(V, dim=5, normalize=False)
    both = concatenate(one, two, 0.3)
    params = {"first": draw(one, 1), "second": draw(two, 2)}
    assert jax.tree.structure(jax.eval_shape(both.init, jax.random.key(0))) == jax.tree.structure(params)

    @jax.jit
    def run(params):
        sides = {"q": dict(side="query"), "d": dict(side="doc")}
        return {
            name: [
                e.encode(p, TEXTS, **how).values
                for e, p in ((both, params), (one, params["first"]), (two, params["second"]))
            ]
            for name, how in sides.items()
        }

    found = jax.device_get(run(params))
    (q, q1, q2), (d, d1, d2) = found["q"], found["d"]
    np.testing.assert_allclose(q @ d.T, q1 @ d1.T + 0.3 * q2 @ d2.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(q, concatenated(q1, q2, 0.3), rtol=1e-6)
    assert (both.kind, both.dim, both.parts) == ("dense", 8, None)
    mixed = concatenate(one, two._replace(kind="sparse"), 0.3)
    assert mixed.kind == "hybrid"
    got = jax.jit(lambda p: mixed.parts["sparse"].encode(p, TEXTS).values)(params)
    np.testing.assert_array_equal(got, q[:, 3:])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: hybrid(V, projection=0, **SMALL), "projection is 0"),
        (lambda: hybrid(V, top_k=0, **SMALL), "top_k is 0"),
        (lambda: hybrid(V, normalise=True, **SMALL), "Did you mean 'normalize'"),
        (lambda: concatenate(static(V), static(V), 0.0), "weight is 0.0"),
        (lambda: concatenate(static(V)._replace(kind="tokens"), static(V), 1.0), "fuse the two runs"),
        (lambda: concatenated([[1.0]], [[1.0], [2.0]]), "1 vectors cannot be joined with 2"),
    ],
)
def test_what_does_not_fit_is_said(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
