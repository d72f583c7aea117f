"""An encoder as a function of one batch: on one device, over a mesh, or without a device at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float
from scipy.sparse import csr_array

from jaxir.checks import InputError
from jaxir.retrieval.batches import suited
from jaxir.retrieval.sparse_vectors import SparseRows
from jaxir.types import Encoder, Params, Tokens

EncodeFn = Callable[[Tokens], Any]
"""Tokens of numpy arrays [b, l] -> vectors [b, d], possibly still being computed.

Its attribute ``kind``, if it has one, says whether they are kept as "dense" or "sparse" rows.
"""


class BagOfWords:
    """Queries as bags of words: the weight of each token that occurs, whatever its number. Numpy alone.

    >>> bag = BagOfWords(np.array([0, 1, 2, 3], np.float32))
    >>> bag.rows([np.array([3, 1, 3]), np.array([0])]).toarray().tolist()
    [[0.0, 1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]]

    Args:
      table: the weight of each token of the vocabulary, 0 = never active.
    """

    kind = "sparse"

    def __init__(self, table: Float[np.ndarray, " v"]):
        self.table = np.asarray(table, np.float32)

    def rows(self, texts: Sequence[np.ndarray]) -> SparseRows:
        """The sparse rows of tokenised texts."""
        dim = len(self.table)
        owner = np.repeat(np.arange(len(texts)), [len(ids) for ids in texts])
        ids = np.concatenate([np.zeros(0, np.int64), *texts]).astype(np.int64)
        once = np.unique(owner * dim + ids)
        owner, ids = np.divmod(once, dim)
        weights = self.table[ids]
        active = weights != 0
        indptr = np.searchsorted(owner[active], np.arange(len(texts) + 1)).astype(np.int32)
        return csr_array((weights[active], ids[active].astype(np.int32), indptr), shape=(len(texts), dim))

    def __call__(self, tokens: Tokens) -> Float[np.ndarray, "b v"]:
        return self.rows([ids[real] for ids, real in zip(tokens.ids, tokens.mask)]).toarray()


def make_encode_fn(
    encoder: Encoder, params: Params, *, side: str = "doc", mesh: Mesh | None = None
) -> EncodeFn:
    """The encoder's ``encode`` for one side, compiled once per shape.

    Its attribute ``suited`` says in what batches it is called by default, ``kind`` what it gives. Queries
    that are bags of words (``encoder.table``) need no device: then it is a :class:`BagOfWords`.

    Args:
      mesh: with it, rows are split over all its axes. Parameters that lie on the mesh already stay
        sharded as they are, others are copied to all its devices.

    Raises:
      InputError: an encoder that does not give one vector per text.
    """
    if encoder.kind == "hybrid":
        parts = " or ".join(encoder.parts or {})
        raise InputError(f"the encoder is a hybrid of several representations: choose its part {parts}")
    check_gives_vectors(encoder)
    if side == "query" and encoder.table is not None:
        return BagOfWords(np.asarray(encoder.table(params)))
    encode_fn = _compiled(encoder, params, side, mesh)
    wide = encoder.dim if encoder.kind == "sparse" else 0
    encode_fn.suited = suited(jax.default_backend(), encoder.packs, wide)
    encode_fn.kind = encoder.kind
    return encode_fn


def check_gives_vectors(encoder: Encoder) -> None:
    """Raises an InputError for a cross-encoder, and for all else that gives a text no vector."""
    if encoder.kind == "scores":
        raise InputError(
            "the model is a cross-encoder: it scores a query and a document together and gives a text no "
            "vector. jaxir rerank orders by it what another model found, jaxir score makes it a teacher"
        )
    if encoder.kind not in ("dense", "sparse"):
        raise InputError(
            f"the encoder gives {encoder.kind!r} representations, expected 'dense' or 'sparse' vectors"
        )


def make_score_fn(encoder: Encoder, params: Params, *, mesh: Mesh | None = None) -> EncodeFn:
    """A cross-encoder's scores [b, 1] of pairs that are joined; as :func:`make_encode_fn`.

    Raises:
      InputError: an encoder of single texts.
    """
    if encoder.kind != "scores":
        raise InputError(
            f"the encoder gives {encoder.kind!r} representations of texts, expected a cross-encoder"
        )
    score_fn = _compiled(encoder, params, "doc", mesh)
    score_fn.suited = suited(jax.default_backend(), encoder.packs)
    return score_fn


def _compiled(encoder: Encoder, params: Params, side: str, mesh: Mesh | None) -> Any:
    encode = jax.jit(lambda params, tokens: encoder.encode(params, tokens, side=side).values)
    return (lambda tokens: encode(params, tokens)) if mesh is None else _over_mesh(encode, params, mesh)


def _over_mesh(encode: Callable[[Params, Tokens], Any], params: Params, mesh: Mesh) -> EncodeFn:
    devices = set(mesh.devices.flat)
    everywhere = NamedSharding(mesh, PartitionSpec())
    over_rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))

    def place(leaf: Any) -> Any:
        lies_there = isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices
        return leaf if lies_there else jax.device_put(leaf, everywhere)

    placed = jax.tree.map(place, params)

    def encode_sharded(tokens: Tokens) -> Any:
        rows = len(tokens.ids)
        more = ((0, -rows % mesh.size), (0, 0))
        whole = Tokens(np.pad(tokens.ids, more), np.pad(tokens.mask, more))
        values = encode(placed, jax.device_put(whole, over_rows))
        return values if len(values) == rows else values[:rows]

    return encode_sharded
