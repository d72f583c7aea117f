"""The SPLADE encoder against its formula in numpy, over all positions and all of the vocabulary."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.config import TransformerConfig
from jaxir.models.mlm import MlmHead
from jaxir.models.sparse import splade
from jaxir.models.sparse_head import ACTIVATIONS
from jaxir.models.transformer import Transformer
from jaxir.types import Tokens

V = 30
TRUNK = dict(layers=1, dim=8, heads=2, ff_dim=16)
IDS = jnp.array([[2, 9, 9, 7, 3, 0], [2, 5, 3, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
TEXTS = Tokens(IDS, jnp.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool))
SPECIAL = (0, 1, 2, 3)

F = {
    "log1p_relu": lambda z: np.log1p(np.maximum(z, 0)),
    "l0": lambda z: np.log1p(np.log1p(np.maximum(z, 0))),
    "relu": lambda z: np.maximum(z, 0),
}


@functools.partial(jax.jit, static_argnames=("causal", "head"))
def _logits(params, ids, mask, causal, head):
    config = TransformerConfig(V, causal=causal, **TRUNK)
    hidden = Transformer(config).apply({"params": params["trunk"]}, ids, mask)[0]
    table = params["trunk"]["token_embedding"]["embedding"]
    return MlmHead(config, **dict(head)).apply({"params": params["mlm"]}, hidden, table)


def logits(params, ids=IDS, mask=TEXTS.mask, causal=False, **head):
    """All logits [n, l, v] by the trunk and the head themselves."""
    return np.asarray(_logits(params, ids, mask, causal, tuple(head.items())))


def made(**options):
    """An encoder and random parameters, the same for the same shapes."""
    encoder = splade(V, tile=8, **TRUNK, **options)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    return encoder, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "activation", "head"),
    [
        ("max", "log1p_relu", dict(softcap=2.0)),
        ("sum", "l0", dict(transform=False, softcap=3.0)),
        ("last", "relu", dict(tied=False, bias=False)),
    ],
)
def test_weights_are_pooled_activations(pooling, activation, head):
    encoder, params = made(pooling=pooling, activation=activation, head=head)
    mask = np.asarray(TEXTS.mask)[..., None]
    weights = np.where(mask, F[activation](logits(params, **head)), 0)
    at_last = weights[np.arange(3), np.maximum(np.asarray(TEXTS.mask).sum(1) - 1, 0)]
    want = {"max": weights.max(1), "sum": weights.sum(1), "last": at_last}[pooling]
    got = encoder.encode(params, TEXTS, side="doc").values
    close(got, want)
    assert (got[2] == 0).all()
    assert 0 < (got[:2] == 0).mean() < 1
    assert encoder.kind == "sparse"
    assert encoder.dim == V


def test_activations():
    x = jnp.array([-1.0, 0.0, 1.0, np.e - 1, 5.0, 20.0])
    np.testing.assert_allclose(ACTIVATIONS["l0"](x), [0, 0, 0.5266, np.log(2), 1.0267, 1.3974], atol=1e-4)
    for name, f in ACTIVATIONS.items():
        np.testing.assert_allclose(f(x), F[name](x), rtol=1e-6)


def test_special_positions_blocked_entries_and_pruning():
    encoder, params = made(
        special_positions=False,
        special_ids=SPECIAL,
        blocked_ids=(4, 5),
        block_on=("doc",),
        top_k=dict(doc=3),
        keep_ratio=dict(query=0.5),
    )
    inside = np.asarray(TEXTS.mask & (IDS > 3))[..., None]
    whole = np.where(inside, F["log1p_relu"](logits(params)), 0).max(1)
    blocked = np.where(np.isin(np.arange(V), (4, 5)), 0, whole)
    third = np.sort(blocked, axis=1)[:, -3, None]
    close(encoder.encode(params, TEXTS, side="doc").values, np.where(blocked >= third, blocked, 0))
    want = np.where(whole > 0.5 * whole.max(1, keepdims=True), whole, 0)
    close(encoder.encode(params, TEXTS, side="query").values, want)


@pytest.mark.parametrize("query", ["bag", "table"])
def test_bags_of_distinct_tokens(query):
    encoder, params = made(query=query, special_ids=SPECIAL)
    params["query_weights"] = jnp.arange(V, dtype=jnp.float32) - 6  # 5 has a negative weight
    table = np.asarray(encoder.table(params))
    want = np.zeros((3, V))
    for row, tokens in enumerate(([9, 7], [5], [])):
        want[row, tokens] = table[tokens]
    np.testing.assert_array_equal(encoder.encode(params, TEXTS, side="query").values, want)
    assert want[0, [9, 7]].tolist() == ([1, 1] if query == "bag" else [3, 1])
    assert want[1, 5] == (query == "bag")


def test_an_echo_lets_a_causal_trunk_see_the_whole_text_and_pools_the_second_copy():
    encoder, params = made(echo=True, causal=True, special_ids=SPECIAL)
    second = TEXTS.mask & (IDS > 3)

    def twice(ids):
        mask = jnp.concatenate([TEXTS.mask, second], axis=1)
        return logits(params, jnp.concatenate([ids, ids], axis=1), mask, causal=True)

    z = np.where(np.asarray(second)[..., None], twice(IDS)[:, 6:], 0)
    close(encoder.encode(params, TEXTS, side="doc").values, F["log1p_relu"](z).max(1))
    before, after = twice(IDS)[0], twice(IDS.at[0, 3].set(8))[0]  # another last word
    assert np.allclose(before[1], after[1])  # the first word, as it is first read
    assert not np.allclose(before[7], after[7])  # and in the copy


def test_layers_leading_axes_towers_and_gradients():
    encoder, params = made(towers="separate")
    two = jax.tree.map(lambda x: jnp.stack([x, x]), TEXTS)

    @functools.partial(jax.value_and_grad, has_aux=True)
    def encoded(params):
        (values,) = encoder.encode(params, two, side="doc", layers=(1,))
        return values.values.sum(), values.values

    (_, values), gradient = encoded(params)
    close(values[1], F["log1p_relu"](np.where(TEXTS.mask[..., None], logits(params["doc"]), 0)).max(1))
    assert all(jnp.all(g == 0) for g in jax.tree.leaves(gradient["query"]))
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(gradient["doc"]["mlm"]))


def test_mistakes():
    with pytest.raises(InputError, match="takes no 'layer'"):
        splade(V, layer=2)
    with pytest.raises(InputError, match="'stopwords'"):
        splade(V, blocked_ids=("stopwords",), **TRUNK)
    with pytest.raises(InputError, match="towers='tied'"):
        splade(V, query="bag", towers="separate", **TRUNK)
    with pytest.raises(InputError, match="log1p_relu"):
        splade(V, activation="log1p_rel", **TRUNK)
