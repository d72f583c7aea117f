import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxir import config
from jaxir.checks import InputError
from jaxir.data.padding import packing
from jaxir.models.encoder import transformer
from jaxir.models.static import static
from jaxir.types import Tokens

SMALL = dict(layers=1, dim=16, heads=2)


def make(kind, **options):
    if kind == "static":
        return static(30, dim=16, **options)
    return transformer(30, **SMALL, **options)


def draw(encoder):
    """Random parameters; to compile ``init`` for every test would take a minute."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, x.dtype), shapes)


def tokens(*leading, length=6, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 30, size=(*leading, length))
    mask = np.arange(length) < rng.integers(1, length + 1, size=(*leading, 1))
    return Tokens(ids.astype(np.int32), mask)  # numpy, as a feed gives them


@pytest.mark.parametrize(("kind", "projection"), [("static", None), ("static", 5), ("transformer", 5)])
def test_any_leading_axes(kind, projection):
    encoder = make(kind, projection=projection)
    params = draw(encoder)
    nested = tokens(3, 2)
    got = encoder.encode(params, nested, side="doc").values
    assert got.shape == (3, 2, encoder.dim)
    assert got.dtype == jnp.float32
    flat = jax.tree.map(lambda x: x.reshape(6, -1), nested)
    np.testing.assert_allclose(got.reshape(6, -1), encoder.encode(params, flat).values, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(got, axis=-1), 1, rtol=1e-5)


def test_one_text_without_leading_axes():
    encoder = static(30, dim=4)
    params, text = draw(encoder), tokens(2)
    one = encoder.encode(params, Tokens(text.ids[1], text.mask[1])).values
    np.testing.assert_allclose(one, encoder.encode(params, text).values[1], atol=1e-6)


@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_towers(kind):
    text = tokens(4)
    tied, separate = make(kind), make(kind, towers="separate")
    params = draw(tied)
    np.testing.assert_array_equal(
        tied.encode(params, text, side="query").values, tied.encode(params, text, side="doc").values
    )
    two = draw(separate)
    assert sorted(two) == ["doc", "query"]
    assert jax.tree.structure(two["doc"]) == jax.tree.structure(params)
    for side in ("query", "doc"):
        np.testing.assert_array_equal(
            separate.encode(two, text, side=side).values, tied.encode(two[side], text).values
        )
    assert not np.allclose(
        separate.encode(two, text, side="query").values,
        separate.encode(two, text, side="doc").values,
    )


def test_layers_pass_through_the_same_head():
    encoder = transformer(30, **{**SMALL, "layers": 2}, projection=5, pooling="last")
    params = draw(encoder)
    text = tokens(4)
    first, second = encoder.encode(params, text, layers=(1, 2))
    np.testing.assert_allclose(second.values, encoder.encode(params, text).values, atol=1e-6)
    cut = transformer(30, **SMALL, projection=5, pooling="last")
    np.testing.assert_allclose(first.values, cut.encode(params, text).values, atol=1e-6)
    with pytest.raises(InputError, match="from 1 to 2"):
        encoder.encode(params, text, layers=(3,))


def test_padding_does_not_change_the_vector():
    encoder = transformer(30, **SMALL, pooling="last")
    params = draw(encoder)
    ids = np.array([[4, 5, 6]])
    want = encoder.encode(params, Tokens(ids, np.ones((1, 3), bool))).values
    batch, mask = np.full((3, 7), 77), np.zeros((3, 7), bool)
    for row, left in enumerate((0, 4, 2)):
        batch[row, left : left + 3], mask[row, left : left + 3] = ids, True
    got = encoder.encode(params, Tokens(batch, mask)).values
    np.testing.assert_allclose(got, np.repeat(want, 3, axis=0), atol=1e-6)


def packed(text, groups=1):
    lengths = text.mask.sum(-1).reshape(len(text.ids), -1)
    return text._replace(packed=packing(lengths, text.ids.shape[-1], groups, step=4))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", ("last", "weighted_mean", "mean_sqrt")])
def test_packing_changes_no_vector(pooling):
    encoder = transformer(30, **SMALL, pooling=pooling, causal=True)
    assert encoder.packs
    params, text = draw(encoder), tokens(3, 2)
    text.mask[1, 1] = False  # an empty one
    want = encoder.encode(params, text).values
    np.testing.assert_allclose(encoder.encode(params, packed(text)).values, want, atol=1e-6)
    # Groups are for micro-batches: whoever encodes the whole batch goes without.
    np.testing.assert_array_equal(encoder.encode(params, packed(text, groups=3)).values, want)


def test_static_encoders_leave_packing_alone():
    encoder, text = static(30, dim=4), tokens(4)
    params = draw(encoder)
    assert not encoder.packs
    got = encoder.encode(params, packed(text)).values
    np.testing.assert_array_equal(got, encoder.encode(params, text).values)


def test_a_pooling_function_of_ones_own():
    ones = transformer(30, **SMALL, pooling=lambda hidden, mask: hidden[:, 0] * 0 + 2)
    got = ones.encode(draw(ones), tokens(4)).values
    np.testing.assert_allclose(got, 16**-0.5, rtol=1e-6)


def test_dropout_differs_by_key_and_by_side():
    encoder = transformer(30, **SMALL, dropout=0.3)
    params, text = draw(encoder), tokens(4)

    def at(seed, side="query"):
        return encoder.encode(params, text, side=side, key=jax.random.key(seed)).values

    np.testing.assert_array_equal(at(1), at(1))
    assert not np.allclose(at(1), at(2))
    assert not np.allclose(at(1), at(1, "doc"))
    assert not np.allclose(at(1), encoder.encode(params, text).values)


def test_an_empty_text_is_the_zero_vector_and_its_gradient_finite():
    encoder = transformer(30, **SMALL, projection=4)
    params = draw(encoder)
    text = Tokens(jnp.array([[1, 2], [1, 2]]), jnp.array([[True, True], [False, False]]))

    def loss(params):
        values = encoder.encode(params, text).values
        return jnp.sum(values**3), values

    gradient, values = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert (values[1] == 0).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_bfloat16_gives_float32_vectors_and_gradients():
    encoder = transformer(30, **SMALL, dtype="bfloat16")
    params, text = draw(encoder), tokens(8)

    def loss(params):
        values = encoder.encode(params, text).values
        return jnp.sum(values**3), values

    gradient, values = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert values.dtype == jnp.float32
    assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(gradient))
    exact = transformer(30, **SMALL).encode(params, text).values
    assert float(jnp.sum(values * exact, axis=-1).min()) > 0.999


def test_the_start_is_random_and_gives_distinct_unit_vectors():
    encoder = transformer(30, **SMALL, projection=8, towers="separate", positions="learned")
    params = encoder.init(jax.random.key(0))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
    assert not np.allclose(params["query"]["projection"]["kernel"], params["doc"]["projection"]["kernel"])
    embedding = params["doc"]["trunk"]["token_embedding"]["embedding"]
    assert 0.015 < float(embedding.std()) < 0.025
    text = tokens(6)
    got = encoder.encode(params, text._replace(mask=text.mask | True)).values
    cosines = np.asarray(got @ got.T)[~np.eye(6, dtype=bool)]
    assert cosines.max() < 0.99


@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_sharded_parameters_and_batch_change_nothing(kind):
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    encoder = make(kind)
    params, text = draw(encoder), tokens(8, 2)

    def loss(params, text):
        values = encoder.encode(params, text, side="doc").values
        return jnp.sum(values**3), values

    def shard(x):
        axes = [i for i in range(x.ndim) if x.shape[i] % 4 == 0]
        spec = [None] * x.ndim
        if axes:
            spec[max(axes, key=lambda i: x.shape[i])] = "fsdp"
        return jax.device_put(x, NamedSharding(mesh, P(*spec)))

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, values), gradient = step(params, text)
    rows = NamedSharding(mesh, P(("data", "fsdp")))
    (_, sharded), sharded_gradient = step(jax.tree.map(shard, params), jax.device_put(text, rows))
    np.testing.assert_allclose(sharded, values, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        sharded_gradient,
        gradient,
    )


def test_configs_name_encoders():
    built = config.build(
        dict(fn="jaxir.models.encoder:transformer", **SMALL, windows=[0, 2]),
        allow=config.TRUSTED,
        vocab_size=30,
    )
    assert (built.dim, built.max_length) == (16, None)
    learned = transformer(30, **SMALL, positions="learned", max_positions=64)
    assert learned.max_length == 64
    assert config.build(dict(fn="jaxir.models.static:static", dim=8), vocab_size=30).dim == 8


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(layer=2), "takes no 'layer'. Did you mean 'layers'"),
        (dict(poling="cls"), "Did you mean 'pooling'"),
        (dict(pooling="average"), "unknown pooling"),
        (dict(towers="both"), "unknown towers"),
        (dict(projection=-3), "projection is -3"),
        (dict(dim=30, heads=4), "not divisible"),
    ],
)
def test_what_does_not_fit_is_said(options, sentence):
    with pytest.raises(InputError, match=sentence):
        transformer(30, **options)


def test_tokens_that_do_not_fit_are_said():
    encoder = static(30, dim=4)
    params = draw(encoder)
    ids = np.zeros((2, 3), np.int32)
    with pytest.raises(InputError, match="same shape"):
        encoder.encode(params, Tokens(ids, np.ones((2, 4), bool)))
    with pytest.raises(InputError, match="length > 0"):
        encoder.encode(params, Tokens(ids[:, :0], ids[:, :0] == 0))


def test_models_need_only_jax_and_flax(root):
    """A GPU machine may lack the data libraries."""
    code = (
        "import sys, jaxir.models.encoder, jaxir.models.static\n"
        "heavy = {'grain', 'tensorflow_datasets', 'tokenizers', 'scann', 'matplotlib', 'bm25s',"
        " 'ir_measures', 'rax', 'tqdm', 'ml_collections', 'scipy.sparse.csgraph'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
