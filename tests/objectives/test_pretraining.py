"""The loss of hidden tokens: one number of the global batch, over meshes, in chunks and in micro-batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.objectives import chunked, combine
from jaxir.objectives.pretraining import token_loss
from jaxir.training.gradients import make_gradients
from jaxir.training.mesh import make_mesh, shard_batch
from jaxir.types import Reps

from . import every

TERM = dict(tokens=dict(fn="jaxir.objectives.pretraining:token_loss", on="docs"))


def encoder():
    """The toy's representations as 32 losses: sums of any sign, and whole numbers of tokens."""
    plain = every.encoder()

    def encode(*arguments, **how):
        values = plain.encode(*arguments, **{**how, "key": None}).values
        counts = jnp.round(jax.lax.stop_gradient(values[..., ::2]) * 9)
        return Reps(jnp.stack([values[..., 1::2], counts], axis=-1).reshape(values.shape))

    return plain._replace(encode=encode)


def test_the_mean_over_losses_of_sum_over_number():
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 5, (4, 3, 6)).astype(np.float32)
    values[..., 5] = 0  # a loss without a token
    where = rng.random((4, 3)) < 0.7
    real = np.where(where[..., None], values, 0).reshape(-1, 3, 2).sum(axis=0, dtype=np.float64)
    values[~where] = np.nan
    wanted = (real[0, 0] / real[0, 1] + real[1, 0] / real[1, 1] + real[2, 0]) / 3
    np.testing.assert_allclose(token_loss(jnp.asarray(values), where=jnp.asarray(where)), wanted, rtol=1e-6)
    with pytest.raises(InputError, match="pairs of columns"):
        token_loss(jnp.ones((2, 3)))


@functools.cache
def gradients(mesh=None, chunk=None, accumulate=1):
    one, objective = encoder(), combine(TERM)
    params = {"encoder": one.init(jax.random.key(0)), "objective": {}}
    if chunk:
        one = chunked(one, chunk, devices=1 if mesh is None else mesh[0] * mesh[1])
    mesh = mesh and make_mesh(*mesh)
    fn = make_gradients(one, objective, mesh, accumulate=accumulate)
    held = jax.tree.map(lambda _: None, params)
    batch = every.batch() if mesh is None else shard_batch(every.batch(), mesh)
    found = jax.jit(lambda p, b: fn(p, held, b, step=0, key=jax.random.key(0))[:2])(params, batch)
    return jax.device_get(found)


@pytest.mark.parametrize(
    "how",
    [dict(mesh=(2, 4)), dict(chunk=3, accumulate=4), dict(mesh=(2, 1), chunk=1, accumulate=2)],
    ids=str,
)
def test_value_and_gradients_do_not_depend_on_meshes_chunks_and_micro_batches(how):
    (one, metrics), (other, other_metrics) = gradients(), gradients(**how)
    np.testing.assert_allclose(other_metrics["loss"], metrics["loss"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), other, one)
    assert max(np.abs(x).max() for x in jax.tree.leaves(one)) > 1e-3
