"""The sparse part of an encoder with several heads: hidden states -> pruned weights of the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxir.checks import check_known
from jaxir.models import pruning
from jaxir.models.config import TransformerConfig
from jaxir.models.sparse import ACTIVATIONS, BySide, VocabularyHead, among, as_ids, by_side
from jaxir.models.towers import SIDES
from jaxir.types import Array, Params, Side


class SparseHead(NamedTuple):
    """Pooled weights, blocked and pruned, as :func:`jaxir.models.sparse.splade` has them."""

    head: VocabularyHead
    activation: str
    special: tuple[int, ...]
    special_positions: bool
    blocked: tuple[int, ...]
    block_on: tuple[str, ...]
    ratios: Mapping[str, float | None]
    ranks: Mapping[str, int | None]

    def pooled_over(self, ids: Array, mask: Array) -> Array:
        """The positions that take part."""
        return mask if self.special_positions else mask & ~among(ids, self.special)

    def __call__(self, params: Params, hidden: Array, ids: Array, mask: Array, side: Side) -> Array:
        """Weights [n, v] from hidden states [n, l, d]; ``params`` has "trunk" and "mlm"."""
        f = ACTIVATIONS[self.activation]
        return self.pruned(self.head(params, hidden, self.pooled_over(ids, mask), f), side)

    def pruned(self, values: Array, side: Side) -> Array:
        """Blocked entries become 0, then what ``keep_ratio`` and ``top_k`` leave out."""
        if side in self.block_on:
            values = jnp.where(among(jnp.arange(values.shape[-1]), self.blocked), 0, values)
        ratio, rank = self.ratios[side], self.ranks[side]
        values = values if ratio is None else pruning.keep_ratio(values, ratio)
        return values if rank is None else pruning.top_k(values, rank)

    @property
    def alike(self) -> bool:
        """Whether queries and documents are treated the same."""
        same = [of["query"] == of["doc"] for of in (self.ratios, self.ranks)]
        return all(same) and set(self.block_on) in (set(), set(SIDES))


def sparse_head(
    config: TransformerConfig,
    *,
    pooling: str = "max",
    activation: str = "log1p_relu",
    special_ids: Sequence[int] = (),
    special_positions: bool = True,
    blocked_ids: Sequence[int] = (),
    block_on: Sequence[str] = SIDES,
    top_k: BySide = None,
    keep_ratio: BySide = None,
    head: Mapping[str, Any] | None = None,
    tile: int = 1024,
) -> SparseHead:
    """A checked :class:`SparseHead`; the arguments are those of :func:`jaxir.models.sparse.splade`.

    Raises:
      InputError: an unknown name, ids outside the vocabulary, a k or ratio that keeps nothing.
    """
    check_known("activation", activation, ACTIVATIONS)
    for side in block_on:
        check_known("side in block_on", side, SIDES)
    ratios, ranks = by_side("keep_ratio", keep_ratio), by_side("top_k", top_k)
    for side in SIDES:
        if ratios[side] is not None:
            pruning.check_ratio(ratios[side])
        if ranks[side] is not None:
            pruning.check_k(ranks[side])
    return SparseHead(
        VocabularyHead(config, dict(head or {}), pooling, tile),
        activation,
        as_ids("special_ids", special_ids, config.vocab_size),
        special_positions,
        as_ids("blocked_ids", blocked_ids, config.vocab_size),
        tuple(block_on),
        ratios,
        ranks,
    )
