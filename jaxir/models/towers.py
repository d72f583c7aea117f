"""From one tower's pure functions to an Encoder: sides, leading axes, dropout keys, several layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxir import scoring
from jaxir.checks import InputError, check_known, check_positive, check_same_shape
from jaxir.types import Array, Encoder, Params, Reps, Side, Tokens

SIDES = ("query", "doc")
TOWERS = ("tied", "separate")

ACTIVATIONS = {
    "identity": lambda x: x,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
}

Forward = Callable[..., tuple[Array, ...]]
Projection = int | Sequence[Mapping[str, Any]] | None


class Linear(NamedTuple):
    """One map after pooling: activation(x kernel + bias)."""

    name: str  # in the parameters
    features: int
    bias: bool = False
    activation: str = "identity"


def linear_maps(projection: Projection) -> tuple[Linear, ...]:
    """What a config says about the maps after pooling, checked.

    >>> linear_maps(64)
    (Linear(name='projection', features=64, bias=False, activation='identity'),)

    Raises:
      InputError: a width that is not above 0, an unknown field or activation.
    """
    if projection is None:
        return ()
    if isinstance(projection, int):
        maps = (Linear("projection", projection),)
    else:
        for fields in projection:
            for field in fields:
                check_known("field of projection", field, ("features", "bias", "activation"))
        maps = tuple(Linear(f"projection_{i}", **fields) for i, fields in enumerate(projection))
    for one in maps:
        check_positive("projection", one.features)
        check_known("activation of projection", one.activation, ACTIVATIONS)
    return maps


def assemble(
    init_tower: Callable[[Array], Params],
    forward: Mapping[Side, Forward],
    *,
    dim: int,
    projection: Projection,
    normalize: bool,
    towers: str,
    max_length: int | None = None,
    packs: bool = False,
    layers: int = 0,
) -> Encoder:
    """An Encoder of one vector per text from one tower's ``init`` and each side's ``forward``.

    ``forward[side](params, ids [n, l], mask [n, l], *, layers, key)`` returns a tuple of pooled
    vectors [n, dim], one per layer; one function for both sides is compiled once. With ``packs`` it
    also takes ``packed`` [1, t] or None, see :class:`jaxir.types.Tokens`. Projection and
    normalisation, the same for every layer, come after it. ``projection`` is the width of one linear
    map, or a sequence of ``dict(features=..., bias=False, activation="tanh")`` with as many maps.
    ``towers="tied"`` has one parameter tree for both sides; ``"separate"`` has
    ``{"query": ..., "doc": ...}``.

    Raises:
      InputError: unknown ``towers``, what :func:`linear_maps` refuses.
    """
    check_known("towers", towers, TOWERS)
    maps = linear_maps(projection)

    def init_one(key: Array) -> Params:
        params, width = init_tower(key), dim
        for i, one in enumerate(maps):
            kernel_key = jax.random.fold_in(key, 1 + i)
            kernel = jax.nn.initializers.lecun_normal()(kernel_key, (width, one.features))
            bias = {"bias": jnp.zeros(one.features)} if one.bias else {}
            params = {**params, one.name: {"kernel": kernel, **bias}}
            width = one.features
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
        packed = tokens.packed if packs else None
        if packed is not None and packed.shape[0] != 1:  # a micro-batch of its own for each group
            packed = None
        vectors = run(tower, *flat, packed, key, forward=forward[side], layers=asked)
        reps = tuple(Reps(x.reshape(*leading, -1)) for x in vectors)
        return reps[0] if layers is None else reps

    # Compiled as a whole also when called outside jit, where op by op costs seconds per shape.
    @functools.partial(jax.jit, static_argnames=("forward", "layers"))
    def run(tower, ids, mask, packed, key, *, forward, layers):
        hint = {"packed": packed} if packs else {}
        pooled = forward(tower, ids, mask, **hint, layers=layers, key=key)
        return tuple(finish(tower, x) for x in pooled)

    def finish(tower: Params, x: Array) -> Array:
        for one in maps:
            x = jnp.matmul(x, tower[one.name]["kernel"], precision="highest")
            x = ACTIVATIONS[one.activation](x + tower[one.name]["bias"] if one.bias else x)
        return scoring.normalize(x) if normalize else x

    return Encoder(
        init=init,
        encode=encode,
        kind="dense",
        dim=maps[-1].features if maps else dim,
        normalized=normalize,
        max_length=max_length,
        packs=packs,
        layers=layers,
    )
