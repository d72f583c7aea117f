"""A toy encoder, tokenizer and data set, as small as the real ones' interfaces allow."""

import contextlib
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from jaxir.types import Doc, Encoder, Reps

VOCABULARY = 500


def encoder(dim=8, max_length=None):
    """The normalised mean of token embeddings."""

    def init(key):
        return {"table": jax.random.normal(key, (VOCABULARY, dim))}

    def encode(params, tokens, *, side="query", layers=None, key=None):
        real = jnp.asarray(tokens.mask)[..., None]
        mean = jnp.where(real, params["table"][tokens.ids], 0).sum(-2)
        return Reps(mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-6))

    return Encoder(init, encode, "dense", dim, True, max_length)


def tokenize(texts):
    return [np.array([sum(map(ord, w)) * 31 % VOCABULARY for w in t.split()], np.int32) for t in texts]


class Docs:
    """Documents with random access, ``n`` of them made on the fly."""

    def __init__(self, n, words=20, seed=0):
        self.n, self.words, self.seed = n, words, seed

    def __len__(self):
        return self.n

    def __iter__(self):
        return iter(self.rows(list(range(self.n))))

    def rows(self, rows):
        return [self.doc(row) for row in rows]

    def doc(self, row):
        rng = np.random.default_rng((self.seed, row))
        count = rng.integers(0, self.words)
        text = " ".join(f"w{i}" for i in rng.integers(0, 3000, count))
        return Doc(f"doc-{row}", f"title{row % 7}", f"{text} e{row}")


def vectors_of(params, texts):
    """The reference: each text alone, in float64."""
    table = np.asarray(params["table"], np.float64)
    sums = np.stack([table[ids].sum(0) for ids in tokenize(texts)])
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)


@contextlib.contextmanager
def small_disk(path, megabytes):
    """A file system of this size, mounted at ``path``; skips the test where that is not allowed."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def sparse_encoder():
    """The number of times that each token occurs, times its weight (0 for some), as a SPLADE head would."""

    def init(key):
        weights = jax.random.uniform(key, (VOCABULARY,))
        return {"weights": jnp.where(weights > 0.2, weights, 0)}

    def encode(params, tokens, *, side="query", layers=None, key=None):
        rows = jnp.asarray(tokens.ids).reshape(-1, tokens.ids.shape[-1])
        real = jnp.asarray(tokens.mask).reshape(rows.shape)
        counts = jnp.zeros((len(rows), VOCABULARY)).at[jnp.arange(len(rows))[:, None], rows].add(real)
        counts = counts.reshape(*tokens.ids.shape[:-1], VOCABULARY)
        return Reps(counts * params["weights"])

    return Encoder(init, encode, "sparse", VOCABULARY)


def sparse_of(params, texts):
    """The reference: [n, VOCABULARY]."""
    counts = [np.bincount(ids, minlength=VOCABULARY) for ids in tokenize(texts)]
    return np.stack(counts) * np.asarray(params["weights"])


def random_rows(n, dim, per_row, seed=0):
    """Sparse rows of about ``per_row`` terms of very different frequencies."""
    rng = np.random.default_rng(seed)
    columns = np.minimum(rng.pareto(0.7, (n, per_row)) * 3, dim - 1).astype(int)
    flat = np.unique(np.arange(n)[:, None] * dim + columns)
    indptr = np.searchsorted(flat, np.arange(n + 1) * dim)
    values = rng.gamma(2, 0.4, len(flat)).astype(np.float32)
    return csr_array((values, flat % dim, indptr), shape=(n, dim))
