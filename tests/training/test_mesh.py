import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from jaxir.checks import InputError
from jaxir.training.mesh import check_batch_size, make_mesh, param_shardings, shard_batch


def test_minus_one_takes_what_is_left():
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1}
    assert dict(make_mesh(data=-1, fsdp=4).shape) == {"data": 2, "fsdp": 4}
    assert dict(make_mesh(data=2, fsdp=-1).shape) == {"data": 2, "fsdp": 4}
    assert make_mesh(data=2, fsdp=1).size == 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((-1, -1), "at most one"),
        ((3, -1), "groups of 3"),
        ((4, 4), "needs 16 devices, 8"),
        ((0, 1), "positive"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(InputError, match=message):
        make_mesh(*sizes)


def test_batch_not_divisible_names_the_nearest():
    mesh = make_mesh()
    check_batch_size(16, mesh)
    with pytest.raises(InputError, match=r"batch_size 12 cannot be divided over 8 devices; use 8 or 16"):
        check_batch_size(12, mesh)
    with pytest.raises(InputError, match=r"use 8$"):
        check_batch_size(3, mesh)


def test_parameters_are_sharded_along_the_largest_dimension_that_divides():
    mesh = make_mesh(data=2, fsdp=4)
    shapes = {
        "table": jax.ShapeDtypeStruct((1000, 64), jnp.float32),
        "odd": jax.ShapeDtypeStruct((999, 63), jnp.float32),
        "small": jax.ShapeDtypeStruct((8, 8), jnp.float32),
        "kernel": jax.ShapeDtypeStruct((64, 1000), jnp.float32),
    }
    specs = jax.tree.map(lambda s: s.spec, param_shardings(shapes, mesh, rules=(("kernel", (None, "data")),)))
    assert specs == {
        "table": P("fsdp", None),
        "odd": P(None, None),
        "small": P(None, None),
        "kernel": P(None, "data"),
    }


def test_a_batch_lies_over_all_devices():
    mesh = make_mesh(data=2, fsdp=4)
    x = shard_batch({"x": jnp.arange(16.0).reshape(16, 1)}, mesh)["x"]
    assert [s.data.shape for s in x.addressable_shards] == [(2, 1)] * 8
