"""From one tower's pure functions to an Encoder: sides, leading axes, dropout keys, several layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxir import scoring
from jaxir.checks import InputError, check_known, check_positive, check_same_shape
from jaxir.types import Array, Encoder, Params, Reps, Side, Tokens

SIDES = ("query", "doc")
TOWERS = ("tied", "separate")

Forward = Callable[..., tuple[Array, ...]]


def assemble(
    init_tower: Callable[[Array], Params],
    forward: Mapping[Side, Forward],
    *,
    dim: int,
    projection: int | None,
    normalize: bool,
    towers: str,
    max_length: int | None = None,
) -> Encoder:
    """An Encoder of one vector per text from one tower's ``init`` and each side's ``forward``.

    ``forward[side](params, ids [n, l], mask [n, l], *, layers, key)`` returns a tuple of pooled
    vectors [n, dim], one per layer; one function for both sides is compiled once. Projection and
    normalisation, the same for every layer, come after it. ``towers="tied"`` has one parameter tree
    for both sides; ``"separate"`` has ``{"query": ..., "doc": ...}``.

    Raises:
      InputError: unknown ``towers``, a projection that is not above 0.
    """
    check_known("towers", towers, TOWERS)
    if projection is not None:
        check_positive("projection", projection)

    def init_one(key: Array) -> Params:
        params = init_tower(key)
        if projection is not None:
            key = jax.random.fold_in(key, 1)
            kernel = jax.nn.initializers.lecun_normal()(key, (dim, projection))
            params = {**params, "projection": {"kernel": kernel}}
        return params

    def init(key: Array) -> Params:
        if towers == "tied":
            return init_one(key)
        return {side: init_one(jax.random.fold_in(key, i)) for i, side in enumerate(SIDES)}

    def encode(
        params: Params,
        tokens: Tokens,
        *,
        side: Side = "query",
        layers: Sequence[int] | None = None,
        key: Array | None = None,
    ) -> Reps | tuple[Reps, ...]:
        check_known("side", side, SIDES)
        check_same_shape(ids=tokens.ids, mask=tokens.mask)
        ids, mask = jnp.asarray(tokens.ids), jnp.asarray(tokens.mask)
        if ids.ndim == 0 or ids.shape[-1] == 0:
            raise InputError(f"tokens have shape {ids.shape}, expected [..., length] with length > 0")
        leading, length = ids.shape[:-1], ids.shape[-1]
        tower = params if towers == "tied" else params[side]
        if key is not None:  # the same key for both sides must not mean the same dropout
            key = jax.random.fold_in(key, SIDES.index(side))
        flat = (ids.reshape(-1, length), mask.reshape(-1, length))
        asked = None if layers is None else tuple(layers)
        vectors = run(tower, *flat, key, forward=forward[side], layers=asked)
        reps = tuple(Reps(x.reshape(*leading, -1)) for x in vectors)
        return reps[0] if layers is None else reps

    # Compiled as a whole also when called outside jit, where op by op costs seconds per shape.
    @functools.partial(jax.jit, static_argnames=("forward", "layers"))
    def run(tower, ids, mask, key, *, forward, layers):
        pooled = forward(tower, ids, mask, layers=layers, key=key)
        return tuple(finish(tower, x) for x in pooled)

    def finish(tower: Params, x: Array) -> Array:
        if projection is not None:
            x = jnp.matmul(x, tower["projection"]["kernel"], precision="highest")
        return scoring.normalize(x) if normalize else x

    return Encoder(
        init=init,
        encode=encode,
        kind="dense",
        dim=projection or dim,
        normalized=normalize,
        max_length=max_length,
    )
