"""From hidden states to weights of the vocabulary: activation, pooling, what is blocked and pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxir.checks import InputError, check_known, check_positive
from jaxir.models import heads, pruning
from jaxir.models.config import TransformerConfig
from jaxir.models.fused_max import max_logits, sum_activated
from jaxir.models.mlm import MlmHead
from jaxir.models.towers import SIDES
from jaxir.types import Array, Params, Side


def _l0(x: Array) -> Array:
    return jnp.log1p(jnp.log1p(jax.nn.relu(x)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "log1p_relu": lambda x: jnp.log1p(jax.nn.relu(x)),
    "l0": _l0,
    "relu": jax.nn.relu,
}
POOLINGS = ("max", "sum", "last")

BySide = Mapping[str, Any] | int | float | None


class VocabularyHead(NamedTuple):
    """Hidden states [n, l, d] -> one weight per vocabulary entry [n, v], by an MLM head.

    ``self(params, hidden, mask, f)`` with an encoder's parameters ("trunk", "mlm") and the activation f.
    """

    config: TransformerConfig
    arguments: Mapping[str, Any]  # of MlmHead
    pooling: str = "max"
    tile: int = 1024

    def init(self, key: Array) -> Params:
        hidden = jnp.zeros((1, self.config.dim))
        table = jnp.zeros((self.config.vocab_size, self.config.dim))
        return MlmHead(self.config, **self.arguments).init(key, hidden, table).get("params", {})

    def __call__(self, params: Params, hidden: Array, mask: Array, f: Callable[[Array], Array]) -> Array:
        head = MlmHead(self.config, **self.arguments)
        embedding = params["trunk"]["token_embedding"]["embedding"]

        def pool(x: Array, matrix: Array, bias: Array | None) -> Array:
            if self.pooling == "sum":
                return sum_activated(x, mask, matrix, bias, lambda z: f(head.capped(z)), tile=self.tile)
            # f and the cap are increasing: the largest weight is the weight of the largest logit.
            return f(head.capped(max_logits(x, mask, matrix, bias, tile=self.tile)))

        if self.pooling == "last":
            some = jnp.any(mask, axis=-1, keepdims=True)
            x = heads.last(hidden, mask).astype(hidden.dtype)
            z = head.apply({"params": params["mlm"]}, x, embedding)
            return jnp.where(some, f(z), 0)
        return head.apply({"params": params["mlm"]}, hidden, embedding, pool)


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
    special_ids: Sequence[Any] = (),
    special_positions: bool = True,
    blocked_ids: Sequence[Any] = (),
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
    check_known("pooling", pooling, POOLINGS)
    check_positive("tile", tile)
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


def present(ids: Array, mask: Array, vocab_size: int) -> Array:
    """1.0 for the vocabulary entries that occur in each text, [n, v]."""
    rows = jnp.arange(ids.shape[0])[:, None]
    # Padding goes to an entry beyond the vocabulary, which is dropped.
    at = jnp.where(mask, ids, vocab_size)
    return jnp.zeros((ids.shape[0], vocab_size), jnp.float32).at[rows, at].set(1.0, mode="drop")


def among(ids: Array, some: Sequence[int]) -> Array:
    """Whether each id is one of ``some``."""
    return jnp.isin(ids, jnp.asarray(some, jnp.int32)) if len(some) else jnp.zeros(ids.shape, bool)


def as_ids(name: str, given: Sequence[Any], vocab_size: int) -> tuple[int, ...]:
    """Checked vocabulary ids.

    Raises:
      InputError: a name that was not turned into ids, an id outside the vocabulary.
    """
    for i in (given,) if isinstance(given, str) else given:
        if not isinstance(i, int) or not 0 <= i < vocab_size:
            raise InputError(
                f"{name} holds {i!r}, expected ids below {vocab_size}; jaxir.data.vocabulary.blocked_ids("
                "tokenizer, names) gives the ids of special tokens, punctuation or stop words"
            )
    return tuple(sorted({*given}))


def by_side(name: str, value: BySide) -> dict[str, Any]:
    """One number for both sides, or a mapping by side; None where nothing is said."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(SIDES, value)
    for side in value:
        check_known(f"side in {name}", side, SIDES)
    return {side: value.get(side) for side in SIDES}
