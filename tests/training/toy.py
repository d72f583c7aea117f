"""A small encoder and batches for the tests of training, made of jax and numpy alone."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxir import scoring
from jaxir.types import Batch, Encoder, Reps, Tokens

VOCAB, DIM = 512, 64


def encoder():
    def init(key):
        return {"embedding": jax.random.normal(key, (VOCAB, DIM)), "bias": jnp.zeros((DIM,))}

    def encode(params, tokens, *, side, layers=None, key=None):
        x = jnp.where(tokens.mask[..., None], params["embedding"][tokens.ids], 0).sum(-2)
        return Reps(scoring.normalize(x + params["bias"]))

    return Encoder(init, encode, dim=DIM, normalized=True)


def batch(i, b=16, n=2, length=6):
    rng = np.random.default_rng(i)
    docs = rng.integers(0, VOCAB, (b, n, length)).astype(np.int32)
    where = rng.random((b, n)) < 0.8
    where[:, 0] = True
    tokens = lambda ids: Tokens(ids, np.ones(ids.shape, bool))
    labels = np.zeros((b, n), np.float32)
    labels[:, 0] = 1
    return Batch(
        query=tokens(docs[:, 0, :3]),
        docs=tokens(docs),
        labels=labels,
        where=where,
        query_id=np.arange(b, dtype=np.int32),
        doc_id=rng.integers(0, 40, (b, n)).astype(np.int32),
    )


def batches(start=0, count=10**9):
    return (batch(i) for i in range(start, start + count))
