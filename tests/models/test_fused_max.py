"""The head over the vocabulary in tiles: value and gradients of the head that makes all logits at once."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxir.checks import InputError
from jaxir.models.fused_max import max_logits, sum_activated

N, L, D, V = 8, 6, 16, 46
AXES = ("data", "fsdp")


def log1p_relu(x):
    return jnp.log1p(jax.nn.relu(x))


def naive_max(hidden, mask, table, bias):
    logits = jnp.einsum("nld,vd->nlv", hidden, table) + (0 if bias is None else bias)
    top = jnp.where(mask[..., None], logits, -jnp.inf).max(1)
    return log1p_relu(jnp.where(mask.any(1, keepdims=True), top, 0))


def naive_sum(hidden, mask, table, bias):
    logits = jnp.einsum("nld,vd->nlv", hidden, table) + (0 if bias is None else bias)
    return jnp.where(mask[..., None], log1p_relu(logits), 0).sum(1)


def tiled_max(hidden, mask, table, bias, tile=10):
    return log1p_relu(max_logits(hidden, mask, table, bias, tile=tile))


def tiled_sum(hidden, mask, table, bias, tile=10):
    return sum_activated(hidden, mask, table, bias, log1p_relu, tile=tile)


PAIRS = {"max": (tiled_max, naive_max), "sum": (tiled_sum, naive_sum)}
both = pytest.mark.parametrize("pooling", PAIRS)


def example(dtype=np.float32):
    """Hidden states, a mask with an empty row, a table, a bias, and the slopes of the result."""
    rng = np.random.default_rng(0)
    hidden, table, bias = rng.normal(size=(N, L, D)), rng.normal(size=(V, D)), rng.normal(size=V) - 3
    mask = rng.random((N, L)) < 0.6
    mask[2] = False
    hidden, table, bias, slopes = (
        jnp.asarray(x, dtype) for x in (hidden, table, bias, rng.normal(size=(N, V)))
    )
    return hidden, jnp.asarray(mask), table, bias, slopes


def both_ways(f, hidden, mask, table, bias, slopes):
    """The value and the gradients to hidden states, table and bias."""

    def loss(hidden, table, bias):
        values = f(hidden, mask, table, bias)
        return jnp.sum(values * slopes), values

    (_, values), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(hidden, table, bias)
    return values, gradients


def close(got, expected, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got, expected)


@both
@pytest.mark.parametrize("tile", [10, 23, 99])
def test_equals_all_logits_at_once(pooling, tile):
    """In float64, with NaN at padding, for tiles that divide the vocabulary, do not, and are larger."""
    tiled, naive = PAIRS[pooling]
    with jax.enable_x64(True):
        hidden, mask, *rest = example(np.float64)
        junk = jnp.where(mask[..., None], hidden, jnp.nan)
        got = jax.jit(functools.partial(both_ways, functools.partial(tiled, tile=tile)))(junk, mask, *rest)
        close(got, jax.jit(functools.partial(both_ways, naive))(hidden, mask, *rest), rtol=1e-12)
    values, (to_hidden, *_) = jax.tree.map(np.asarray, got)
    assert values.dtype == np.float64
    assert 0 < (values > 0).mean() < 0.9  # some entries of the vocabulary have no gradient
    assert not values[2].any()
    assert not to_hidden[~mask].any()


@both
def test_without_bias_and_through_transformations(pooling):
    """vmap; and rows in chunks, computed again in the backward pass, as large batches are encoded."""
    tiled, naive = PAIRS[pooling]
    hidden, mask, table, _, slopes = example()
    halves = lambda x: x.reshape(2, N // 2, *x.shape[1:])

    def chunked(hidden, mask, table, bias):
        one = jax.checkpoint(lambda x: tiled(*x, table, bias))
        return jax.lax.map(one, (halves(hidden), halves(mask))).reshape(N, V)

    def mapped(hidden, mask, table, bias):
        one = jax.vmap(lambda h, m: tiled(h, m, table, bias))
        return one(halves(hidden), halves(mask)).reshape(N, V)

    forms = [functools.partial(both_ways, f) for f in (chunked, mapped, naive)]
    *found, expected = jax.jit(lambda *x: [f(*x) for f in forms])(hidden, mask, table, None, slopes)
    close(found, [expected, expected])


def test_of_equal_positions_the_first_gets_the_gradient():
    hidden = jnp.broadcast_to(jnp.arange(1.0, 4.0), (1, 5, 3))
    mask = jnp.array([[False, True, True, False, True]])
    slope = jax.jit(jax.grad(lambda h: max_logits(h, mask, jnp.eye(3), None, tile=2).sum()))(hidden)
    np.testing.assert_array_equal(slope[0], np.eye(5)[1][:, None] * np.ones(3))


@both
def test_bfloat16_states_are_summed_in_float32(pooling):
    tiled, naive = PAIRS[pooling]
    hidden, mask, table, bias, slopes = example()
    small = hidden.astype(jnp.bfloat16)
    values, gradients = jax.jit(functools.partial(both_ways, tiled))(small, mask, table, bias, slopes)
    rounded = table.astype(jnp.bfloat16).astype(jnp.float32)
    wide = (small.astype(jnp.float32), mask, rounded, bias, slopes)
    exact, expected = jax.jit(functools.partial(both_ways, naive))(*wide)
    np.testing.assert_allclose(values, exact, rtol=1e-5, atol=1e-5)
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.float32, jnp.float32]
    for got, slope in zip(gradients, expected):
        assert np.abs(np.asarray(got, np.float32) - slope).max() < 0.01 * np.abs(slope).max()


def test_a_nan_at_a_real_position_is_not_hidden():
    hidden, mask, table, *_ = example()
    first = np.argmax(mask[0])
    broken = hidden.at[0, first].set(jnp.nan)
    values = jax.jit(functools.partial(max_logits, tile=20))(broken, mask, table, None)
    assert np.isnan(values).any(axis=1).tolist() == [True] + [False] * (N - 1)


@both
@pytest.mark.parametrize(("shape", "at"), [((2, 1), P()), ((1, 4), P(None, "fsdp")), ((4, 2), P("fsdp"))])
def test_rows_and_table_over_a_mesh(pooling, shape, at):
    """The same numbers, and no logits of one device ever go to another."""
    tiled, naive = PAIRS[pooling]
    devices = jax.devices()[: shape[0] * shape[1]]
    mesh = jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)
    on = lambda spec: NamedSharding(mesh, spec)
    rows, whole, table = on(P(AXES)), on(P()), on(at)
    f = jax.jit(
        functools.partial(both_ways, tiled),
        in_shardings=(rows, rows, table, whole, rows),
        out_shardings=(rows, (rows, table, whole)),
    )
    arguments = example()
    program = f.lower(*arguments).compile()
    expected = jax.jit(functools.partial(both_ways, naive))(*arguments)
    placed = jax.device_put(arguments, (rows, rows, table, whole, rows))
    close(program(*placed), expected)
    sent = re.findall(r"= (.*?) (?:all-\w+|reduce-scatter|collective-permute)\(", program.as_text())
    sizes = [
        np.prod([int(x) for x in s.split(",")]) for found in sent for s in re.findall(r"\[([\d,]+)\]", found)
    ]
    assert sizes
    assert max(sizes) <= V * D  # a table's gradient at most


@both
def test_memory_is_that_of_a_tile(pooling):
    n, l, d, v = 4, 64, 16, 4096
    shapes = [(n, l, d), (n, l), (v, d), (v,), (n, v)]
    arguments = [jax.ShapeDtypeStruct(s, bool if i == 1 else np.float32) for i, s in enumerate(shapes)]

    def temporaries(f):
        compiled = jax.jit(functools.partial(both_ways, f)).lower(*arguments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    tiled, naive = PAIRS[pooling]
    assert temporaries(functools.partial(tiled, tile=64)) < temporaries(naive) / 10


@both
def test_it_lowers_for_every_platform(pooling):
    f = jax.jit(functools.partial(both_ways, PAIRS[pooling][0]))
    exported = jax.export.export(f, platforms=["cpu", "cuda", "tpu"])(*example())
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}


def test_a_tile_of_nothing_is_refused():
    hidden, mask, table, bias, _ = example()
    for f in (tiled_max, tiled_sum):
        with pytest.raises(InputError, match="tile=0"):
            f(hidden, mask, table, bias, tile=0)
