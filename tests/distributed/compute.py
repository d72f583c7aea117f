"""Loss, metrics and gradients of objectives: the same lines for one process and for several."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxir import trees
from jaxir.config import import_path
from jaxir.objectives import combine
from jaxir.training.gradients import make_loss
from jaxir.training.mesh import own_rows, param_shardings, replicated, shard_batch
from jaxir.training.step import init_params

BATCH = 16


def results(spec, mesh=None):
    """``{"loss": ..., "metric:NAME": ..., "gradient:PATH": ...}``, numpy arrays, of one batch.

    ``spec``: dict(objective=dict of terms), and import paths of another ``encoder()`` or ``batch(0)`` than
    the toys, and of ``arrays`` for the terms.
    """
    encoder = import_path(spec.get("encoder", "tests.training.toy:encoder"))()
    batch = import_path(spec.get("batch", "tests.training.toy:batch"))(0)
    arrays = import_path(spec["arrays"]) if "arrays" in spec else None
    objective = combine(spec["objective"], arrays=arrays)
    init = lambda key: init_params(encoder, objective, key)
    whole = None
    if mesh is None:
        params = jax.jit(init)(jax.random.key(0))
    else:
        shapes = jax.eval_shape(init, jax.random.key(0))
        params = jax.jit(init, out_shardings=param_shardings(shapes, mesh))(jax.random.key(0))
        rows = own_rows(BATCH, mesh)
        batch = shard_batch(jax.tree.map(lambda x: x[rows], batch), mesh)
        whole = replicated(mesh)
    loss = functools.partial(make_loss(encoder, objective, mesh), step=jnp.int32(2), key=jax.random.key(7))
    loss = jax.value_and_grad(loss, has_aux=True)
    (value, metrics), gradients = jax.jit(loss, out_shardings=whole)(params, batch)
    named = {f"metric:{name}": x for name, x in metrics.items()}
    named.update({f"gradient:{name}": x for name, x in trees.named(gradients).items()})
    return {name: np.asarray(x) for name, x in {"loss": value, **named}.items()}
