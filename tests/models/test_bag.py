import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxir.models import bag
from jaxir.models.bag import embedding_bag


def inputs():
    rng = np.random.default_rng(0)
    table, weights = rng.normal(size=(11, 4)), rng.random(11)
    ids, mask = rng.integers(0, 11, size=(6, 9)), rng.random((6, 9)) < 0.7
    mask[3] = False
    gradient = rng.normal(size=(6, 4))
    table, weights, gradient = (jnp.asarray(x, jnp.float32) for x in (table, weights, gradient))
    return table, weights, jnp.asarray(ids, jnp.int32), jnp.asarray(mask), gradient


def plain(table, weights, ids, mask):
    return jnp.sum(jnp.where(mask, weights[ids], 0)[..., None] * table[ids], axis=1)


def test_value_and_gradients_equal_the_plain_form():
    table, weights, ids, mask, cotangent = inputs()

    @functools.partial(jax.jit, static_argnums=0)
    def both(fn, ids):
        value, pull = jax.vjp(lambda t, w: fn(t, w, ids, mask), table, weights)
        return value, *pull(cotangent)

    hidden = jnp.where(mask, ids, -99)  # padding ids are not read
    for got, want in zip(both(embedding_bag, hidden), both(plain, ids)):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_loops_equal_gather_and_scatter():
    table, weights, ids, mask, cotangent = inputs()
    per_token = jnp.where(mask, weights[ids], 0)
    np.testing.assert_allclose(
        bag._sum_loop(table, ids, per_token), bag._sum_gather(table, ids, per_token), atol=1e-6
    )
    np.testing.assert_allclose(
        bag._scatter_loop(table, ids, mask, cotangent),
        bag._scatter(table, ids, mask, cotangent),
        atol=1e-6,
    )


def test_a_real_id_outside_the_table_is_loud():
    table, weights, ids, mask, _ = inputs()
    outside = ids.at[0, 0].set(11)
    got = embedding_bag(table, weights, outside, mask.at[0, 0].set(True))
    assert np.isnan(got[0]).all()
    assert np.isfinite(got[1:]).all()


def test_jit_and_vmap():
    table, weights, ids, mask, _ = inputs()
    two = jax.vmap(embedding_bag, in_axes=(None, None, 0, 0))
    got = jax.jit(two)(table, weights, ids.reshape(2, 3, 9), mask.reshape(2, 3, 9))
    np.testing.assert_allclose(got.reshape(6, 4), embedding_bag(table, weights, ids, mask), atol=1e-6)


def test_gradient_over_a_mesh_axis():
    table, weights, ids, mask, cotangent = inputs()
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def loss(table, weights, ids, mask, cotangent):
        return jnp.sum(embedding_bag(table, weights, ids, mask) * cotangent)

    sharded = jax.shard_map(
        lambda *args: jax.lax.psum(loss(*args), "data"),
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data"), P("data")),
        out_specs=P(),
    )
    got = jax.jit(jax.grad(sharded, argnums=(0, 1)))(table, weights, ids, mask, cotangent)
    want = jax.jit(jax.grad(loss, argnums=(0, 1)))(table, weights, ids, mask, cotangent)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)
