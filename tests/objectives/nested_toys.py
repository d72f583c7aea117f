"""Toys for nested objectives: representations of three layers, a batch with padding, no model."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxir.types import Batch, BatchReps, Encoder, Reps, Tokens

B, N, D, LAYERS = 6, 2, 8, 3


def encoder(kind="dense", *, normalized=False, layers=LAYERS, table=None):
    """What wrappers read of an encoder; it encodes nothing."""
    return Encoder(None, None, kind=kind, dim=D, normalized=normalized, layers=layers, table=table)


@functools.cache
def where():
    """Query 2 is padding, and document 1 of query 4."""
    real = np.ones((B, N), bool)
    real[2] = real[4, 1] = False
    return real


def batch():
    tokens = lambda *shape: Tokens(np.zeros((*shape, 1), np.int32), np.ones((*shape, 1), bool))
    labels = np.zeros((B, N), np.float32)
    labels[:, 0] = 1
    return Batch(tokens(B), tokens(B, N), jnp.asarray(labels), jnp.asarray(where()))


def reps(kind="dense", count=LAYERS, seed=0, tokens=3):
    """A BatchReps for each layer, of float64 where jax has it."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        if kind == "tokens":
            masks = [np.arange(tokens) < rng.integers(1, tokens + 1, (*s, 1)) for s in ((B,), (B, N))]
            q, d = (rng.normal(size=(*m.shape, D)) for m in masks)
            made.append(BatchReps(*(Reps(jnp.asarray(x), jnp.asarray(m)) for x, m in zip((q, d), masks))))
            continue
        q, d = rng.normal(size=(B, D)), rng.normal(size=(B, N, D))
        q, d = (np.maximum(x, 0) if kind == "sparse" else x for x in (q, d))
        made.append(BatchReps(Reps(jnp.asarray(q)), Reps(jnp.asarray(d))))
    return tuple(made)
