r"""What a sparse autoencoder of frozen vectors is trained on (CSR, arXiv:2503.01776).

    L = MSE(x, x_k) + 1/8 MSE(x, x_4k) + beta L_aux + gamma L_cl

All terms are means over the global batch; with ``axis_name`` each device holds its rows of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxir import negatives, scoring
from jaxir.checks import InputError
from jaxir.losses import softmax
from jaxir.reduce import AxisName, masked_mean, psum
from jaxir.types import Params

ACTIVE = 1e-5
"""A latent is used where its code is above this."""


class Pairs(NamedTuple):
    """Vectors of queries and of a document relevant to each. Equal ids are not each other's negatives."""

    query: Float[Array, "b d"]
    doc: Float[Array, "b d"]
    query_id: Int[Array, " b"]
    doc_id: Int[Array, " b"]


def mse(
    x: Float[Array, "b d"], reconstruction: Float[Array, "b d"], *, axis_name: AxisName = None
) -> Float[Array, ""]:
    """Mean squared difference over all entries of the global batch."""
    return masked_mean(jnp.square(x - reconstruction), None, axis_name)


def auxiliary(
    residual: Float[Array, "b d"], reconstruction: Float[Array, "b d"], *, axis_name: AxisName = None
) -> Float[Array, ""]:
    r"""How well the dead latents' reconstruction fits what the live ones left over.

    MSE(x_aux, e) / MSE(mean e, e), with e the residual, which gets no gradient, and its mean over the batch.
    1 where x_aux is that mean. 0 with gradient 0 where all residuals are equal, 0 / 0 among them.
    """
    e = jax.lax.stop_gradient(residual)
    rows = psum(jnp.asarray(len(e), e.dtype), axis_name)
    mean = psum(jnp.sum(e, axis=0), axis_name) / rows
    spread = mse(e, jnp.broadcast_to(mean, e.shape), axis_name=axis_name)
    found = mse(e, reconstruction, axis_name=axis_name) / jnp.where(spread == 0, 1, spread)
    return jnp.where(spread == 0, 0, found)


def nonnegative_contrast(
    codes: Float[Array, "b h"],
    other: Float[Array, "b h"] | None = None,
    *,
    temperature: float = 0.2,
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    r"""NT-Xent of two views of b vectors: cosines of codes, each of the 2 b against all others.

    ``other=None`` is the public code's unpaired case: both views come from the same input through a
    model without noise, so they are equal, the positive's cosine is constant, and what is left pushes
    all codes apart (uniformity).
    """
    first = _two_views(codes, codes if other is None else other, temperature, axis_name)
    if other is None:
        return first
    return (first + _two_views(other, codes, temperature, axis_name)) / 2


def paired_contrast(
    query: Float[Array, "b h"],
    doc: Float[Array, "b h"],
    *,
    query_id: Int[Array, " b"] | None = None,
    doc_id: Int[Array, " b"] | None = None,
    temperature: float = 0.2,
    axis_name: AxisName = None,
) -> Float[Array, ""]:
    """Cross entropy of each query's own document among all of the batch, by cosines of codes, one direction.

    The same document under another query, and other documents of the same query, are no negatives.
    """
    found = negatives.in_batch(
        query, doc, query_id=query_id, doc_id=None if doc_id is None else doc_id[:, None],
        score=scoring.cosine, axis_name=axis_name,
    )  # fmt: skip
    return softmax(
        found.scores, found.labels, where=found.where, temperature=temperature, axis_name=axis_name
    )


def csr(
    autoencoder: Any,
    params: Params,
    x: Float[Array, "b d"],
    unused: Int[Array, " h"],
    *,
    k: int,
    pairs: Pairs | None = None,
    more: int = 4,
    more_weight: float = 1 / 8,
    aux_k: int = 512,
    aux_weight: float = 1 / 32,
    dead_after: int = 30,
    contrast_weight: float = 0.1,
    temperature: float = 0.2,
    axis_name: AxisName = None,
) -> tuple[Float[Array, ""], dict[str, Array], Int[Array, " h"]]:
    r"""The loss of one batch, its parts, and the new counts of steps in which each latent was not used.

    - x_k and x_{more k} are decoded from the same pre-activations, none of them masked.
    - L_aux: the ``aux_k`` largest pre-activations among dead latents reconstruct the residual x - x_k, which
      is not differentiated. A latent is dead once the ``dead_after`` steps before this one did not use it, in
      the codes at k of any row of the global batch. (The public code counts forward passes, three to a step,
      those of evaluation among them; its 30 are about 10 steps.) 0 while nothing is dead.
    - L_cl: :func:`nonnegative_contrast` of the codes of x, or with ``pairs`` :func:`paired_contrast`; their
      queries are then reconstructed beside x.

    Squared errors are in the scaled units of the autoencoder.

    Args:
      autoencoder: :class:`jaxir.models.sparse_autoencoder.SparseAutoencoder`, or what has its ``dim``,
        ``scale``, ``preactivations``, ``keep`` and ``decode_scaled``, with ``pre_bias`` in its parameters.
      x: [b, d], as they come.
      unused: [h] int32, zeros at the start, the same on every device.
      aux_k: at most this many; fewer dead ones than that is no mistake.

    Raises:
      InputError: k, ``more`` or ``aux_k`` below 1, x of another width.
    """
    if x.shape[-1] != autoencoder.dim:
        raise InputError(f"vectors have {x.shape[-1]} dimensions, the autoencoder {autoencoder.dim}")
    if aux_k < 1 or more < 1:
        raise InputError(f"aux_k is {aux_k} and more is {more}, both must be at least 1")
    seen = x if pairs is None else jnp.concatenate([x, pairs.query])
    pre = autoencoder.preactivations(params, seen)
    codes, wider = autoencoder.keep(pre, (k, more * k))
    target = autoencoder.scale * seen.astype(jnp.float32) - params["pre_bias"]
    residual = target - autoencoder.decode_scaled(params, codes)
    zeros = jnp.zeros_like(residual)
    error = mse(residual, zeros, axis_name=axis_name)
    wide = mse(target - autoencoder.decode_scaled(params, wider), zeros, axis_name=axis_name)
    dead = unused >= dead_after

    def revive(pre: Array) -> Array:
        (dead_codes,) = autoencoder.keep(jnp.where(dead, pre, 0), (aux_k,))
        return autoencoder.decode_scaled(params, dead_codes)

    # Most steps of most runs have nothing dead: a third of the work is then not done.
    revived = jax.lax.cond(jnp.any(dead), revive, lambda pre: zeros, pre)
    aux = jnp.where(jnp.any(dead), auxiliary(residual, revived, axis_name=axis_name), 0)

    how = dict(temperature=temperature, axis_name=axis_name)
    used = codes
    if pairs is None:
        contrast = nonnegative_contrast(codes, **how)
    else:
        (docs,) = autoencoder.keep(autoencoder.preactivations(params, pairs.doc), (k,))
        ids = dict(query_id=pairs.query_id, doc_id=pairs.doc_id)
        contrast = paired_contrast(codes[len(x) :], docs, **ids, **how)
        used = jnp.concatenate([codes, docs])
    active = psum(jnp.sum(used > ACTIVE, axis=0), axis_name) > 0
    loss = error + more_weight * wide + aux_weight * aux + contrast_weight * contrast
    metrics = {
        "loss": loss,
        "error": error,
        "wider_error": wide,
        "auxiliary": aux,
        "contrast": contrast,
        "dead": jnp.sum(dead),
        "active": masked_mean(jnp.sum(codes > 0, axis=-1).astype(jnp.float32), None, axis_name),
    }
    return loss, metrics, jnp.where(active, 0, unused + 1)


def _two_views(own: Array, other: Array, temperature: float, axis_name: AxisName) -> Array:
    """The rows of ``own``: their ``other`` against everyone's ``other`` and everyone else's ``own``."""
    everyone, start = (own, other), 0
    if axis_name is not None:
        everyone = jax.lax.all_gather(everyone, axis_name, tiled=True)
        start = jax.lax.axis_index(axis_name) * len(own)
    same = (start + jnp.arange(len(own)))[:, None] == jnp.arange(len(everyone[0]))[None]
    scores = [scoring.cosine(own, everyone[1])]
    scores.append(scores[0] if own is other else scoring.cosine(own, everyone[0]))
    return softmax(
        jnp.concatenate(scores, axis=1),
        jnp.concatenate([same, jnp.zeros_like(same)], axis=1).astype(own.dtype),
        where=jnp.concatenate([jnp.ones_like(same), ~same], axis=1),
        temperature=temperature,
        axis_name=axis_name,
    )
