"""Every loss and regulariser over every mesh, with and without chunks: the numbers of one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.objectives import chunked, combine
from jaxir.training.gradients import make_loss
from jaxir.training.mesh import make_mesh, shard_batch

from . import every
from .every import TERMS, batch, missing

KEY = jax.random.key(7)
MESHES = [(2, 1), (1, 4)]  # eight devices: with chunks, below


def test_every_public_loss_is_a_term():
    assert not missing()


def value_and_gradients(mesh=None, chunk=None, terms=None):
    encoder, objective = every.encoder(), combine(terms or TERMS, arrays=every.ARRAYS)
    params = {"encoder": encoder.init(jax.random.key(0)), "objective": objective.init(jax.random.key(0))}
    if chunk:
        encoder = chunked(encoder, chunk, devices=1 if mesh is None else mesh.size)
    loss = make_loss(encoder, objective, mesh)
    fn = jax.jit(jax.value_and_grad(functools.partial(loss, step=jnp.int32(2), key=KEY), has_aux=True))
    return jax.device_get(fn(params, batch() if mesh is None else shard_batch(batch(), mesh)))


@functools.cache
def on_one_device():
    return value_and_gradients()


def check(found, expected=None):
    (value, metrics), gradients = found
    (one, one_metrics), one_gradients = expected or on_one_device()
    np.testing.assert_allclose(value, one, rtol=1e-5)
    assert metrics.keys() == one_metrics.keys()
    for name in metrics:
        np.testing.assert_allclose(metrics[name], one_metrics[name], rtol=1e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gradients, one_gradients
    )


@pytest.mark.parametrize("shape", MESHES, ids=str)
def test_value_metrics_and_gradients_do_not_depend_on_the_mesh(shape):
    check(value_and_gradients(make_mesh(*shape)))


@pytest.mark.parametrize(("shape", "chunk"), [(None, 5), ((2, 4), 1)], ids=str)
def test_chunks_change_nothing(shape, chunk):
    check(value_and_gradients(shape and make_mesh(*shape), chunk))


def test_losses_of_lists_on_a_mesh():
    check(value_and_gradients(make_mesh(2, 4), terms=every.LISTED), value_and_gradients(terms=every.LISTED))
