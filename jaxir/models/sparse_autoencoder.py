"""A top-k sparse autoencoder of vectors that any encoder made (CSR), as pure functions.

With h latents over d dimensions, x a vector and s the scale of its kind:

    pre = W (s x - b_pre) + b_enc        [h]
    z_k = relu(top_k(pre))               [h], at most k entries above 0
    x'  = (V z_k + b_pre) / s            V = W^T where the decoder is tied

The k largest are taken before the relu: a code has fewer than k entries where fewer are above 0.

References: Wen et al. 2025 (CSR, arXiv:2503.01776), Gao et al. 2024 (arXiv:2406.04093); the active subspace:
Wang et al. 2025 (arXiv:2508.16929).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from jaxir.checks import InputError, check_positive
from jaxir.types import Params


class SparseAutoencoder(NamedTuple):
    """The facts that are not learned. The parameters are a dict:

    ``encoder`` [h, d], ``pre_bias`` [d], ``latent_bias`` [h], and ``decoder`` [h, d] unless it is ``tied``.
    """

    dim: int
    latents: int
    tied: bool = True
    scale: float = 1.0  # of the input; with 1 / root mean square all vectors have errors of one size

    def init(self, key: Array) -> Params:
        """Random directions of length 1, biases of 0; a decoder of its own starts as the encoder."""
        rows = jax.random.normal(key, (self.latents, self.dim), jnp.float32)
        rows = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
        params = {
            "encoder": rows,
            "pre_bias": jnp.zeros((self.dim,), jnp.float32),
            "latent_bias": jnp.zeros((self.latents,), jnp.float32),
        }
        return params if self.tied else {**params, "decoder": rows + 0}  # of its own, also when donated

    def preactivations(self, params: Params, x: Float[Array, "*n d"]) -> Float[Array, "*n h"]:
        centred = self.scale * x.astype(jnp.float32) - params["pre_bias"]
        return _matmul(centred, params["encoder"].T) + params["latent_bias"]

    def encode(self, params: Params, x: Float[Array, "*n d"], k: int) -> Float[Array, "*n h"]:
        """The codes z_k: not negative, at most k entries above 0, equal ones the lowest latent first."""
        return self.keep(self.preactivations(params, x), (k,))[0]

    def keep(self, pre: Float[Array, "*n h"], ks: Sequence[int]) -> list[Float[Array, "*n h"]]:
        """Codes of pre-activations, at each of some k: :func:`top_k`."""
        return top_k(pre, ks)

    def decode(self, params: Params, z: Float[Array, "*n h"]) -> Float[Array, "*n d"]:
        """The reconstruction, in the units of the input."""
        return (self.decode_scaled(params, z) + params["pre_bias"]) / self.scale

    def decode_scaled(self, params: Params, z: Float[Array, "*n h"]) -> Float[Array, "*n d"]:
        """V z alone, without the bias and in the scaled units in which losses are taken."""
        return _matmul(z, params["encoder" if self.tied else "decoder"])


def sparse_autoencoder(
    dim: int, latents: int | None = None, *, tied: bool = True, scale: float = 1.0
) -> SparseAutoencoder:
    """The autoencoder of vectors [n, dim]; 4 dim latents by default.

    Raises:
      InputError: a size below 1, or a scale that is not a finite number above 0.
    """
    latents = 4 * dim if latents is None else latents
    check_positive("dim", dim)
    check_positive("latents", latents)
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"scale is {scale}, it must be a finite number above 0")
    return SparseAutoencoder(dim, latents, tied, float(scale))


def top_k(pre: Float[Array, "*n h"], ks: Sequence[int]) -> list[Float[Array, "*n h"]]:
    """relu of the k largest entries, 0 elsewhere, for each of some k; a k above h is h.

    Equal entries are taken lowest index first, so codes are nested: the support of a smaller k lies in that
    of a larger one. Gradients flow through the entries that are kept and above 0.

    >>> [z.tolist() for z in top_k(jnp.array([1.0, -2.0, 3.0, 3.0]), (1, 2, 9))]
    [[0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 3.0, 3.0], [1.0, 0.0, 3.0, 3.0]]
    """
    for k in ks:
        check_positive("k", k)
    h = pre.shape[-1]
    frozen = jax.lax.stop_gradient(pre)
    largest = max((k for k in ks if k < h), default=0)
    values, at = jax.lax.top_k(frozen, largest) if largest else (None, None)
    # XLA sees through slices of a top k and sorts all of the row instead, several times slower on CPU. One
    # barrier for each: a common one ends XLA itself (of jaxlib 0.10.2) over a mesh.
    values, at = jax.lax.optimization_barrier(values), jax.lax.optimization_barrier(at)
    positive = jax.nn.relu(pre)
    return [positive if k >= h else jnp.where(_kept(frozen, values, at, k), positive, 0) for k in ks]


def _kept(pre: Array, values: Array, at: Array, k: int) -> Array:
    """Which entries are among the k largest. Comparing takes a fraction of a scatter's time on CPU."""
    last, place = values[..., k - 1 : k], at[..., k - 1 : k]
    equal = (pre == last) & (jnp.arange(pre.shape[-1]) <= place)  # ties come lowest index first
    return (pre > last) | equal | jnp.isnan(pre)  # a NaN is not hidden


def active_subspace(vectors: Float[np.ndarray, "n d"], rank: int) -> Float64[np.ndarray, "d r"]:
    """P: orthonormal directions of the largest variance of ``vectors``, centred, largest first.

    One direction may hold nearly all of the variance, so the rank is given and not found by a threshold.

    Raises:
      InputError: a rank outside 1 ... d.
    """
    dim = vectors.shape[1]
    if not 1 <= rank <= dim:
        raise InputError(f"the subspace has rank {rank}, it must be from 1 to {dim}, the vectors' dimensions")
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    return directions[:, ::-1][:, :rank]


def start_in_subspace(
    params: Params, autoencoder: SparseAutoencoder, vectors: Float[np.ndarray, "n d"], rank: int
) -> Params:
    """Latents that start within the directions in which the data varies: fewer die.

    V <- V[:, :r] P^T with rows of length 1, W^T <- V, and b_pre is the data's mean, so that what is left of
    the data lies in the span of P.

    Raises:
      InputError: a rank outside 1 ... d.
    """
    span = active_subspace(vectors, rank)
    rows = np.asarray(params["encoder"], np.float64)[:, :rank] @ span.T
    rows = jnp.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), jnp.float32)
    mean = jnp.asarray(autoencoder.scale * vectors.mean(0, dtype=np.float64), jnp.float32)
    new = {**params, "encoder": rows, "pre_bias": mean}
    return new if autoencoder.tied else {**new, "decoder": rows + 0}


def _matmul(a: Array, b: Array) -> Array:
    # In bfloat16, as TPUs would have it, other latents win the top k.
    return jnp.matmul(a, b, precision="highest")
