"""Every wrapper over every mesh, with and without chunks and micro-batches: the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.objectives import chunked
from jaxir.training.gradients import make_gradients
from jaxir.training.mesh import make_mesh, param_shardings, shard_batch
from jaxir.training.step import init_params

from ..training import toy
from .every import NESTED, batch, layered, nested, unnested


def test_every_public_wrapper_is_nested_here():
    assert not unnested()


def results(name, mesh=None, *, chunk=None, accumulate=1):
    """(gradients, metrics with the loss, memory) of one wrapper; parameters sharded over fsdp."""
    encoder, objective = layered(), nested(name)
    seen = encoder if chunk is None else chunked(encoder, chunk, devices=mesh.size)
    init = lambda key: init_params(encoder, objective, key)
    places = None if mesh is None else param_shardings(jax.eval_shape(init, jax.random.key(0)), mesh)
    params = jax.jit(init, out_shardings=places)(jax.random.key(0))
    if mesh is not None:
        table = params["encoder"]["embedding"]
        assert table.addressable_shards[0].data.shape[0] == toy.VOCAB // mesh.shape["fsdp"]
    step = make_gradients(seen, objective, mesh, accumulate=accumulate)
    held = jax.tree.map(lambda x: None, params)
    memory = jax.tree.map(lambda x: x + 0.25, objective.memory(toy.DIM))
    # Ids change no wrapper and cost half of the compilation; test_everywhere has them.
    data = batch()._replace(doc_id=None, query_id=None, known=None)
    data = jax.tree.map(jnp.asarray, data) if mesh is None else shard_batch(data, mesh)

    @jax.jit
    def run(params, data, key):
        return step(params, held, data, step=jnp.int32(2), key=key, memory=memory)

    return jax.device_get(run(params, data, jax.random.key(1)))


# Each wrapper on another mesh, all sizes of mesh: what it wraps does not see it.
CASES = [
    ("coordinates", (2, 1), dict(accumulate=2)),
    ("matryoshka", (1, 2), {}),
    ("2d", (1, 4), {}),
    ("starbucks", (2, 4), dict(chunk=1)),
]


def test_every_wrapper_is_on_some_mesh():
    assert {name for name, _, _ in CASES} == set(NESTED)


@pytest.mark.endtoend
@pytest.mark.parametrize(("name", "shape", "how"), CASES, ids=str)
def test_no_mesh_chunk_or_micro_batch_changes_a_number(name, shape, how):
    found = results(name, make_mesh(*shape), **how)
    one = results(name, accumulate=how.get("accumulate", 1))
    assert jax.tree.structure(found) == jax.tree.structure(one)
    assert np.abs(one[0]["encoder"]["embedding"]).max() > 1e-4
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    jax.tree.map(close, found, one)
