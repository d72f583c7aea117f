"""LoRA on parameters: the base at the start, its gradients, merging, dropout, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir import trees
from jaxir.checks import InputError
from jaxir.models import lora
from jaxir.models.encoder import transformer
from jaxir.models.static import static
from jaxir.types import Tokens

PLAIN = transformer(40, layers=2, dim=16, heads=2, ff_dim=16)
TEXT = Tokens(jnp.arange(12).reshape(2, 6), jnp.array([[True] * 6, [True] * 3 + [False] * 3]))


def adapters(rank=3, alpha=6.0, **options):
    """An encoder with adapters that are not zero, and its parameters."""
    encoder = lora.lora(PLAIN, rank=rank, alpha=alpha, **options)
    params = encoder.init(jax.random.key(1))
    learned = trees.map_named(lambda name, x: x + 0.1 if name.endswith("/b") else x, params[lora.ADAPTERS])
    return encoder, {**params, lora.ADAPTERS: learned}


def test_it_starts_as_the_base_model_bit_for_bit():
    encoder = lora.lora(PLAIN, rank=4, dropout=0.5)
    params = encoder.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, params["base"], PLAIN.init(jax.random.key(0)))
    want = PLAIN.encode(params["base"], TEXT).values
    np.testing.assert_array_equal(encoder.encode(params, TEXT).values, want)
    np.testing.assert_array_equal(encoder.encode(params, TEXT, key=jax.random.key(3)).values, want)
    spread = np.std(params["lora"]["trunk"]["layers_0"]["attention"]["query"]["kernel"]["a"])
    np.testing.assert_allclose(spread, 16**-0.5, rtol=0.4)
    assert encoder._replace(init=None, encode=None) == PLAIN._replace(init=None, encode=None)


def test_merged_parameters_encode_the_same_and_differ_in_the_targets_alone():
    encoder, params = adapters()
    merged = lora.merge(params, alpha=6.0)
    assert jax.tree.structure(merged) == jax.tree.structure(params["base"])
    np.testing.assert_array_equal(encoder.encode(params, TEXT).values, PLAIN.encode(merged, TEXT).values)
    one, two = encoder.encode(params, TEXT, layers=(1, 2), side="doc")
    assert one.values.shape == two.values.shape == (2, 16)
    base, adapter = trees.named(params["base"]), trees.named(params["lora"])
    for name, w in trees.named(merged).items():
        if "attention/query/kernel" in name or "attention/value/kernel" in name:
            a, b = (np.asarray(adapter[f"{name}/{x}"], np.float64) for x in "ab")
            np.testing.assert_allclose(w, base[name] + 6 / 3 * a @ b, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(w, base[name])


def test_gradients_are_those_of_the_low_rank_branch():
    encoder, params = adapters()
    loss = lambda p, encode: jnp.sum(encode(p, TEXT).values[:, :3])
    of_adapters = trees.named(jax.grad(loss)(params, encoder.encode)["lora"])
    of_matrices = trees.named(jax.grad(loss)(lora.merge(params, alpha=6.0), PLAIN.encode))
    values = trees.named(params["lora"])
    for name in {n.rpartition("/")[0] for n in values}:
        g, a, b = of_matrices[name], values[f"{name}/a"], values[f"{name}/b"]
        np.testing.assert_allclose(of_adapters[f"{name}/a"], 2 * g @ b.T, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(of_adapters[f"{name}/b"], 2 * a.T @ g, rtol=1e-4, atol=1e-6)


def test_dropout_leaves_out_rows_of_a_by_the_key_and_keeps_the_mean():
    w = {"base": {"kernel": jnp.zeros((50, 2))}}
    params = {**w, "lora": {"kernel": {"a": jnp.ones((50, 1)), "b": jnp.ones((1, 2))}}}
    draw = lambda i: lora.merge(params, alpha=1.0, dropout=0.2, key=jax.random.key(i))["kernel"]
    found = np.stack([draw(i) for i in range(40)])
    np.testing.assert_allclose(np.unique(found), [0, 1.25], rtol=1e-6)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])  # whole rows
    np.testing.assert_allclose(found.mean(), 1, atol=0.05)
    np.testing.assert_array_equal(draw(1), draw(1))
    encoder, params = adapters(dropout=0.5)
    encode = lambda side, key: np.asarray(encoder.encode(params, TEXT, side=side, key=key).values)
    key = jax.random.key(0)
    assert (encode("query", key) != encode("doc", key)).any()
    assert (encode("query", key) != encode("query", None)).any()


def test_a_short_base_keeps_small_additions():
    params = {"base": {"kernel": jnp.ones((2, 2), jnp.bfloat16)}}
    params["lora"] = {"kernel": {"a": jnp.full((2, 1), 1e-3), "b": jnp.ones((1, 2))}}
    np.testing.assert_allclose(lora.merge(params, alpha=1.0)["kernel"], 1.001)


def test_towers_embeddings_and_the_path_of_what_is_frozen():
    encoder = lora.lora(static(30, dim=8, towers="separate"), rank=2, targets="query/embedding")
    params = encoder.init(jax.random.key(0))
    assert list(trees.named(params["lora"])) == ["query/embedding/a", "query/embedding/b"]
    names = [f"encoder/{name}" for name in trees.named(params)]
    held = trees.matches([lora.frozen(["token_logit"])])
    assert [n for n in names if not held(n)] == [
        "encoder/base/doc/token_logit",
        "encoder/base/query/token_logit",
        "encoder/lora/query/embedding/a",
        "encoder/lora/query/embedding/b",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(rank=0), "at least 1"),
        (dict(rank=2, alpha=0), "alpha is 0"),
        (dict(rank=2, dropout=1.0), "below 1"),
        (dict(rank=2, targets="atention"), "matches no parameter.*trunk/"),
        (dict(rank=2, targets="scale"), "which is no matrix"),
        (dict(rank=20), r"rank 20 is above the sizes of .*\(16, 16\)"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lora.lora(PLAIN, **options).init, jax.random.key(0))


def test_parameters_without_adapters_are_refused():
    with pytest.raises(InputError, match="no parameters of a LoRA encoder"):
        lora.merge({"trunk": {}}, alpha=1.0)
