"""Masked copies of texts for pre-training: which words are hidden, what stands in their place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxir.checks import InputError
from jaxir.models.positions import position_ids

DRAWS = 5  # of each token: the word's place, whether the last word fits, the order, the replacement (2)


class Masked(NamedTuple):
    """A text as the model reads it, and at most m of its tokens that are to be predicted."""

    ids: Array  # [n, l] int32
    at: Array  # [n, m] columns
    labels: Array  # [n, m] the tokens that stood there
    where: Array  # [n, m] bool, True = real


class Masking(NamedTuple):
    """Draws masks: ``masking(ids, mask, key, rate)``.

    A text with n tokens that are not special has a budget of rate * n tokens. Its words are hidden in random
    order as long as they fit; the first that does not is hidden with the probability that makes the expected
    number of hidden tokens the budget exactly. The pieces of a word are hidden together, or none of them.

    At most ceil(rate * n) hidden tokens are predicted: a long word at the end can bring more, and then which
    ones are left out is drawn, all alike. So the number of predictions, m = ceil(rate * l), is known when the
    program is compiled, and hardly one of them is empty.

    A hidden token becomes ``mask_id`` with probability ``replaced[0]``, another ordinary token of the
    vocabulary with ``replaced[1]``, and stays as it is otherwise, each token by itself (BERT, Devlin et al.
    2019, arXiv:1810.04805).

    What is drawn depends on the key and on the text alone, not on the batch around it, on padding or on the
    device: chunks and meshes see the same masks. Two equal texts in a batch get the same one.
    """

    vocab_size: int
    mask_id: int
    special: tuple[int, ...]  # never hidden
    continues: tuple[int, ...]  # pieces that continue a word; () hides token by token
    replaced: tuple[float, float] = (0.8, 0.1)

    def __call__(
        self, ids: Int[Array, "n l"], mask: Bool[Array, "n l"], key: Key[Array, ""], rate: float
    ) -> Masked:
        """A masked copy of each text; padding may stand at both ends and hold anything."""
        ids = jnp.where(mask, ids, 0)
        hideable = _table(self.vocab_size, self.special, False)
        ordinary = jnp.asarray(hideable)[ids] & mask
        inside = jnp.asarray(_table(self.vocab_size, self.continues, True))[ids]
        first = ordinary & ~(inside & jnp.pad(ordinary, ((0, 0), (1, 0)))[:, :-1])
        draws = _uniforms(key, ids, mask)
        word = jnp.cumsum(first, axis=1)
        # Pieces share the draws of their word's first token.
        begin = jax.lax.cummax(jnp.where(first, jnp.arange(ids.shape[1]), 0), axis=1)
        order, fits = (jnp.take_along_axis(draws[..., i], begin, axis=1) for i in (0, 1))
        before, length = _filled(order, word, ordinary)
        count = jnp.sum(ordinary, axis=1, keepdims=True).astype(jnp.float32)
        hidden = ordinary & (before + fits * length < rate * count)

        most = min(math.ceil(rate * ids.shape[1]), ids.shape[1])
        # Comparisons, not a sort, which takes as long to compile as a block of the trunk.
        last = jnp.where(hidden, draws[..., 2], 2.0)
        rank = jnp.sum(hidden[:, None] & (last[:, None] < last[..., None]), axis=2)
        chosen = hidden[:, None] & (rank[:, None] == jnp.arange(most)[:, None])  # [n, m, l]
        at, where = jnp.argmax(chosen, axis=2), jnp.any(chosen, axis=2)
        # The mean of 0.2 * 10 in floats must not become 3 tokens.
        where &= jnp.arange(most) < jnp.ceil(rate * count - 1e-4)
        labels = jnp.take_along_axis(ids, at, axis=1)
        choices = np.flatnonzero(hideable).astype(np.int32)
        other = jnp.asarray(choices)[(draws[..., 3] * len(choices)).astype(jnp.int32)]
        how, (to_mask, to_other) = draws[..., 4], self.replaced
        new = jnp.where(how < to_mask, self.mask_id, jnp.where(how < to_mask + to_other, other, ids))
        return Masked(jnp.where(hidden, new, ids), at, labels, where)


def check_rate(name: str, rate: float) -> None:
    """Raises unless the share of hidden tokens is between 0 and 1, both excluded."""
    if not 0 < rate < 1:
        raise InputError(f"{name} is {rate}, the share of tokens that are hidden: above 0 and below 1")


def check_replaced(replaced: Sequence[float]) -> tuple[float, float]:
    """(share that becomes the mask token, share that becomes a random one).

    Raises:
      InputError: not two shares.
    """
    two = tuple(replaced)
    if len(two) != 2 or min(two) < 0 or sum(two) > 1 + 1e-9:
        raise InputError(
            f"replaced is {two}, expected two shares of the hidden tokens, for the mask token and for random "
            "ones, of 1 together at most"
        )
    return two


def _table(size: int, ids: Sequence[int], value: bool) -> np.ndarray:
    """One truth for each entry of the vocabulary: ``value`` for those of ``ids``."""
    table = np.full(size, not value)
    table[list(ids)] = value
    return table


def _filled(order: Array, word: Array, ordinary: Array) -> tuple[Float[Array, "n l"], Float[Array, "n l"]]:
    """For each token: how many tokens the words before its own in the order have, and its own."""
    mine, other = lambda x: x[:, :, None], lambda x: x[:, None, :]
    same = mine(word) == other(word)
    earlier = (other(order) < mine(order)) | ((other(order) == mine(order)) & (other(word) < mine(word)))
    number = lambda which: jnp.sum(which & other(ordinary), axis=2).astype(jnp.float32)
    return number(earlier & ~same), number(same)


def _uniforms(key: Array, ids: Array, mask: Array) -> Float[Array, "n l k"]:
    """Numbers in [0, 1) for each token, which depend on the key, the text and the token's place in it.

    By hashing, with MurmurHash3's last steps: a generator of jax's for each token takes seconds to compile.
    """
    place = position_ids(mask).astype(jnp.uint32)
    one, two = jax.random.bits(key, (2,), jnp.uint32)
    tokens = _mixed(ids.astype(jnp.uint32) ^ _mixed(place + one))
    text = _mixed(jnp.sum(jnp.where(mask, tokens, 0), axis=1, dtype=jnp.uint32, keepdims=True) ^ two)
    at = place[..., None] * DRAWS + jnp.arange(DRAWS, dtype=jnp.uint32)
    bits = _mixed(text[..., None] + _mixed(at + one))
    return (bits >> 8).astype(jnp.float32) / (1 << 24)


def _mixed(x: Array) -> Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
