"""A trunk that compiles fast, random parameters without compiling ``init``, and its hidden states."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxir.models.config import TransformerConfig
from jaxir.models.transformer import Transformer
from jaxir.types import Tokens

V = 30
TRUNK = dict(layers=1, dim=8, heads=2, ff_dim=16, positions="none", activation="relu")
OUTSIDE = np.iinfo(np.int32).max
"""An id at padding that gives NaN wherever it is read."""


def texts(*ids, length=None):
    length = length or max(map(len, ids))
    rows = [[*row, *[OUTSIDE] * (length - len(row))] for row in ids]
    return Tokens(np.array(rows, np.int32), np.array([[i != OUTSIDE for i in row] for row in rows]))


def twice(tokens):
    """The texts with a leading axis of 2."""
    return jax.tree.map(lambda x: np.stack([x, x]), tokens)


def draw(encoder, seed=0, scale=0.5):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * scale, x.dtype), shapes)


def hidden(params, tokens, layers=None, **options):
    """The hidden states of an encoder's trunk, for use inside jit."""
    trunk = Transformer(TransformerConfig(V, **{**TRUNK, **options}))
    ids, mask = jnp.asarray(tokens.ids), jnp.asarray(tokens.mask)
    states = trunk.apply({"params": params["trunk"]}, ids, mask, layers=layers)
    return states[0] if layers is None else states


def relu(x):
    return np.maximum(np.asarray(x, np.float64), 0)
