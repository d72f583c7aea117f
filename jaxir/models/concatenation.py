"""Two encoders as one: vectors one after the other, whose dot product is the weighted sum of both scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxir.checks import InputError, check_positive
from jaxir.types import Array, Encoder, Params, Reps, Side, Tokens


def concatenate(first: Encoder, second: Encoder, weight: float) -> Encoder:
    """Documents [d ; d'], queries [q ; weight q'], so that s = <q, d> + weight <q', d'>.

    SPAR (arXiv:2110.06918) joins a dense retriever with one that was trained to imitate a sparse one. The
    weight stands on the queries' side alone, so that it can be tuned without encoding documents again
    (:func:`concatenated` does it to vectors that are there already). A dense and a sparse encoder make
    a hybrid with these two as its parts.

    Parameters: {"first": ..., "second": ...}.

    Raises:
      InputError: a weight not above 0, or an encoder of one vector per token.
    """
    check_positive("weight", weight)
    for one in (first, second):
        if one.kind == "tokens":
            raise InputError("vectors per token cannot be concatenated; fuse the two runs instead")
    lengths = [e.max_length for e in (first, second) if e.max_length is not None]
    one, two = _part(first, "first", 0, 1.0), _part(second, "second", 1, weight)

    def init(key: Array) -> Params:
        keys = jax.random.split(key)
        return {"first": first.init(keys[0]), "second": second.init(keys[1])}

    def encode(params: Params, tokens: Tokens, **how: Any) -> Reps | tuple[Reps, ...]:
        found = one.encode(params, tokens, **how), two.encode(params, tokens, **how)
        if how.get("layers") is None:
            return _join(*found)
        return tuple(_join(a, b) for a, b in zip(*found))

    kinds = {first.kind, second.kind}
    mixed = kinds == {"dense", "sparse"}
    kind = first.kind if len(kinds) == 1 else "hybrid"
    return Encoder(
        init=init,
        encode=encode,
        kind=kind,
        dim=first.dim + second.dim,
        max_length=min(lengths) if lengths else None,
        packs=first.packs or second.packs,
        layers=min(first.layers, second.layers),
        parts={e.kind: e._replace(init=init) for e in (one, two)} if mixed else None,
    )


def concatenated(first: Any, second: Any, weight: float = 1.0) -> np.ndarray:
    """[first ; weight second] of two arrays of vectors [n, d], [n, d']: weight 1 for documents.

    Raises:
      InputError: different numbers of vectors.

    >>> concatenated([[1.0, 2.0]], [[3.0]], 0.5).tolist()
    [[1.0, 2.0, 1.5]]
    """
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    if len(a) != len(b):
        raise InputError(f"{len(a)} vectors cannot be joined with {len(b)}: give both of the same texts")
    return np.concatenate([a, np.float32(weight) * b], axis=-1)


def _part(encoder: Encoder, name: str, number: int, weight: float) -> Encoder:
    """``encoder`` with its place in the joint parameters, a key of its own, and weighed queries."""

    def encode(
        params: Params,
        tokens: Tokens,
        *,
        side: Side = "query",
        layers: Sequence[int] | None = None,
        key: Array | None = None,
    ) -> Reps | tuple[Reps, ...]:
        key = None if key is None else jax.random.fold_in(key, number)
        found = encoder.encode(params[name], tokens, side=side, layers=layers, key=key)
        if side != "query" or weight == 1:
            return found
        return jax.tree.map(lambda x: weight * x, found)

    table = encoder.table and (lambda params: weight * encoder.table(params[name]))
    return encoder._replace(
        encode=encode, table=table, normalized=encoder.normalized and weight == 1, parts=None
    )


def _join(a: Reps, b: Reps) -> Reps:
    return Reps(jnp.concatenate([a.values, b.values], axis=-1))
