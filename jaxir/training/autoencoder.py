"""Training of a sparse autoencoder on vectors that are already there (CSR).

The batch of step i is a function of (seed, i); the vectors may be memory-mapped and are never copied whole.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Int
from tqdm import tqdm

from jaxir.checks import InputError, check_positive
from jaxir.models.sparse_autoencoder import SparseAutoencoder, sparse_autoencoder, start_in_subspace
from jaxir.objectives.autoencoding import Pairs, csr
from jaxir.training.loop import Diverged
from jaxir.training.mesh import AXES, check_batch_size, replicated, shard_batch
from jaxir.types import Array, Params

SAMPLE = 16_384
"""Vectors from which the scale and the active subspace are estimated, at most."""

EVALUATED = 4096
"""Vectors encoded at a time by :func:`evaluate`."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How an autoencoder is trained. The defaults are the public code's for text, but for what is said here.

    ``latents`` None = 4 d. ``learning_rate`` is its rate for images; its 4e-5 for text goes with passes over
    millions of vectors. ``scale`` None = 1 / root mean square of the vectors: then squared errors, and with
    them the weights of the other terms, mean the same for vectors of any length; the public code takes
    vectors as they come, which is ``scale=1``. ``subspace``: rank of the active subspace to start in.
    """

    latents: int | None = None
    k: int = 32
    steps: int = 2000
    batch_size: int = 1024
    learning_rate: float = 4e-4
    adam_eps: float = 6.25e-10
    tied: bool = True
    scale: float | None = None
    subspace: int | None = None
    more: int = 4
    more_weight: float = 1 / 8
    aux_k: int = 512
    aux_weight: float = 1 / 32
    dead_after: int = 30  # steps
    contrast_weight: float = 0.1
    temperature: float = 0.2
    seed: int = 0


OF_THE_LOSS = (
    *("k", "more", "more_weight", "aux_k", "aux_weight", "dead_after", "contrast_weight", "temperature"),
)


class QueryPairs(NamedTuple):
    """Queries with relevant documents, for the paired contrast; m pairs of rows."""

    queries: np.ndarray  # [q, d]
    query_row: Int[np.ndarray, " m"]
    doc_row: Int[np.ndarray, " m"]


class State(NamedTuple):
    """What a step carries on."""

    params: Params
    opt_state: Any
    unused: Array  # [h] int32: steps since a latent was used


class Trained(NamedTuple):
    autoencoder: SparseAutoencoder
    params: Params
    metrics: dict[str, float]  # of the last step


def make_train_step(
    autoencoder: SparseAutoencoder, options: Options, mesh: Mesh | None = None
) -> Callable[[State, Array, Pairs | None], tuple[State, dict[str, Array]]]:
    """``step(state, x [b, d], pairs) -> (state, metrics)``: one step of Adam, compiled.

    Over a mesh each device has its rows of the batch; loss, gradient and counts are those of one device.
    """
    how = {name: getattr(options, name) for name in OF_THE_LOSS}
    optimizer = make_optimizer(options)

    def apply(params, x, unused, pairs):
        axes = None if mesh is None else AXES
        loss, metrics, unused = csr(autoencoder, params, x, unused, pairs=pairs, axis_name=axes, **how)
        return loss, (metrics, unused)

    if mesh is not None:
        rows, everywhere = PartitionSpec(AXES), PartitionSpec()
        specs = (everywhere, rows, everywhere, rows)
        apply = jax.shard_map(apply, mesh=mesh, in_specs=specs, out_specs=everywhere)

    # The gradient is taken outside of shard_map: inside, it would be wrong by the number of devices.
    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: State, x: Array, pairs: Pairs | None) -> tuple[State, dict[str, Array]]:
        gradients, (metrics, unused) = jax.grad(apply, has_aux=True)(state.params, x, state.unused, pairs)
        updates, opt_state = optimizer.update(gradients, state.opt_state)
        return State(optax.apply_updates(state.params, updates), opt_state, unused), metrics

    return step


def make_optimizer(options: Options) -> optax.GradientTransformation:
    return optax.adam(options.learning_rate, eps=options.adam_eps)


def train(
    vectors: np.ndarray,
    options: Options,
    *,
    pairs: QueryPairs | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Trained:
    """An autoencoder of ``vectors`` [n, d], the same for the same arguments.

    Raises:
      InputError: options that fit no autoencoder, no vectors, vectors that are all 0, pairs that do not fit
        them, or a batch that the devices cannot share.
      Diverged: the loss is not finite any more.
    """
    _check(vectors, options, pairs)
    n, dim = vectors.shape
    rows = np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)
    sample = vectors[rows].astype(np.float32)
    scale = options.scale
    if scale is None:
        length = math.sqrt(np.mean(np.square(sample, dtype=np.float64)))
        if not length:
            raise InputError("all vectors are 0: there is nothing to encode in them")
        scale = 1 / length
    made = sparse_autoencoder(dim, options.latents, tied=options.tied, scale=scale)
    if options.k > made.latents:
        raise InputError(f"k is {options.k} and there are {made.latents} latents: lower k or raise latents")
    params = made.init(jax.random.key(options.seed))
    if options.subspace is not None:
        params = start_in_subspace(params, made, sample, options.subspace)
    state = State(params, make_optimizer(options).init(params), jnp.zeros((made.latents,), jnp.int32))
    if mesh is not None:
        check_batch_size(options.batch_size, mesh)
        state = jax.device_put(state, replicated(mesh))
    step = make_train_step(made, options, mesh)
    metrics: dict[str, Array] = {}
    bar = tqdm(range(options.steps), desc="train", unit=" steps", disable=not progress, mininterval=0.5)
    for number in bar:
        x, some = batch(vectors, pairs, options, number)
        if mesh is not None:
            x, some = shard_batch((x, some), mesh)
        before, (state, metrics) = metrics, step(state, x, some)
        if number % 50 == 1:  # of the step before: the device is not waited for
            _check_finite(before, number - 1)
            bar.set_postfix({name: f"{float(before[name]):.4g}" for name in ("error", "dead")}, refresh=False)
    _check_finite(metrics, options.steps - 1)
    return Trained(made, state.params, {name: float(value) for name, value in metrics.items()})


def batch(
    vectors: np.ndarray, pairs: QueryPairs | None, options: Options, step: int
) -> tuple[np.ndarray, Pairs | None]:
    """What step ``step`` sees: different rows where there are as many, and pairs beside them."""
    rng = np.random.default_rng((options.seed, step))
    x = vectors[_draw(rng, len(vectors), options.batch_size)].astype(np.float32)
    if pairs is None:
        return x, None
    at = _draw(rng, len(pairs.query_row), options.batch_size)
    query, doc = pairs.query_row[at], pairs.doc_row[at]
    texts = (pairs.queries[query].astype(np.float32), vectors[doc].astype(np.float32))
    return x, Pairs(*texts, query.astype(np.int32), doc.astype(np.int32))


class Quality(NamedTuple):
    """Of an autoencoder on vectors, at some k."""

    explained: float  # 1 - sum ||x - x_k||^2 / sum ||x - mean x||^2
    dead: int  # latents that no vector uses
    active: float  # entries above 0 of a code, mean


def evaluate(
    autoencoder: SparseAutoencoder, params: Params, vectors: np.ndarray, k: int, *, progress: bool = False
) -> Quality:
    """How well ``vectors`` [n, d] are reconstructed, and how many latents take part."""

    @jax.jit
    def of(x: Array) -> tuple[Array, Array, Array]:
        codes = autoencoder.encode(params, x, k)
        return x - autoencoder.decode(params, codes), jnp.sum(codes > 0, axis=0), jnp.sum(codes > 0)

    mean = vectors.mean(0, dtype=np.float64)
    left = spread = active = 0.0
    used = np.zeros(autoencoder.latents, np.int64)
    starts = range(0, len(vectors), EVALUATED)
    for start in tqdm(starts, desc="measure", unit=" blocks", disable=not progress, mininterval=0.5):
        x = vectors[start : start + EVALUATED].astype(np.float32)
        residual, by_latent, count = jax.device_get(of(x))
        left += float(np.sum(np.square(residual, dtype=np.float64)))
        spread += float(np.sum(np.square(x - mean)))
        used += by_latent
        active += float(count)
    explained = 1 - left / spread if spread else math.nan
    return Quality(explained, int(np.sum(used == 0)), active / len(vectors))


def _draw(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Rows in increasing order, which a memory-mapped file reads fastest."""
    return np.sort(rng.choice(n, size, replace=size > n, shuffle=False))


def _check(vectors: np.ndarray, options: Options, pairs: QueryPairs | None) -> None:
    for name in ("k", "steps", "batch_size", "learning_rate", "more", "aux_k", "dead_after", "temperature"):
        check_positive(name, getattr(options, name))
    if not len(vectors):
        raise InputError("there are no vectors to train on")
    if pairs is None:
        return
    if not len(pairs.query_row):
        raise InputError("no judgement is of a query and a document that have a vector: nothing to pair")
    if pairs.queries.shape[1:] != vectors.shape[1:]:
        raise InputError(
            f"queries have {pairs.queries.shape[1]} dimensions and the vectors {vectors.shape[1]}: encode "
            "both with the same model"
        )


def _check_finite(metrics: dict[str, Array], step: int) -> None:
    bad = [name for name, value in metrics.items() if not math.isfinite(float(value))]
    if bad:
        raise Diverged(
            f"step {step + 1}: {', '.join(bad)} became {float(metrics[bad[0]])}: the vectors hold what is no "
            "number, or the learning rate is too high"
        )
