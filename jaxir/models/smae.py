"""Masked pre-training of an encoder at several sizes: a text becomes the losses of its hidden tokens.

c.encoder = dict(fn="jaxir.models.smae:masked_language_model", layers=6, dim=96, sizes=((2, 32), (6, 96)))
c.objective = dict(tokens=dict(fn="jaxir.objectives.pretraining:token_loss", on="docs"))
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxir.checks import InputError, check_known
from jaxir.models.config import TransformerConfig, trunk_config
from jaxir.models.heads import POOLINGS
from jaxir.models.masking import Masked, Masking, check_rate, check_replaced
from jaxir.models.mlm import MlmHead
from jaxir.models.sparse_head import as_ids
from jaxir.models.towers import SIDES, assemble
from jaxir.models.transformer import Transformer
from jaxir.models.trunk import Trunk
from jaxir.types import Array, Encoder, Params

DECODER = "decoder"
"""The parameters of the decoder's one block."""


def masked_language_model(
    vocab_size: int,
    *,
    sizes: Sequence[Any] | None = None,
    mask: float = 0.2,
    decoder: bool = True,
    decoder_mask: float = 0.4,
    pooling: str = "cls",
    whole_word: bool = True,
    replaced: Sequence[float] = (0.8, 0.1),
    special_ids: Sequence[Any] = (),
    continues: Sequence[Any] = (),
    mask_id: int | None = None,
    head: Mapping[str, Any] | None = None,
    **trunk: Any,
) -> Encoder:
    r"""SMAE (arXiv:2410.13230): the masked language model and a one-layer decoder at every (layers, dims).

    For each size the states H of that layer, of which dimensions beyond ``dims`` count as 0, go through one
    head, which therefore uses the first ``dims`` rows of its transform. Its cross-entropy is taken at the
    hidden tokens. The decoder is one block with the trunk's embeddings and the same head. It reads the text
    with more tokens hidden, and in place of its first token the transformed vector of the text at that size:
    what it cannot see it has to find there (RetroMAE, arXiv:2205.12035).

    The values of a text are two columns for each loss, the sum of -log p over the tokens to be predicted and
    their number: masked model and decoder of the first size, of the second, and so on.
    :func:`jaxir.objectives.pretraining.token_loss` makes the loss of them. Logits are made for hidden tokens
    only. Masks are drawn by the key (:class:`jaxir.models.masking.Masking`); without one always the same.

    Args:
      vocab_size: rows of the token embedding.
      sizes: (layers, dims) from small to large; None = the whole encoder, which is, without the decoder,
        plain masked language modelling.
      mask, decoder_mask: share of the tokens that are hidden from the encoder, and from the decoder.
      decoder: whether there is one.
      pooling: the vector that the decoder gets, of the hidden states: ``cls`` as in the paper, or what the
        encoder will be used with.
      whole_word: pieces of a word are hidden together; ``continues`` says which tokens continue one.
      replaced: what becomes of a hidden token: shares of mask tokens and of random ones, the rest stays.
      special_ids, continues, mask_id: of the tokenizer; training fills them in.
      head: arguments of :class:`jaxir.models.mlm.MlmHead`.
      **trunk: the other fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "mlm": ..., "decoder": {"layers_0": ..., "final_norm": ...}}.

    Raises:
      InputError: an unknown argument or name, sizes that the trunk does not have or that are not sorted,
        shares outside 0 and 1, names that are not ids yet, no ``mask_id``.

    >>> encoder = masked_language_model(100, layers=2, dim=16, heads=2, sizes=((1, 8), (2, 16)), mask_id=4)
    >>> encoder.kind, encoder.dim
    ('losses', 8)
    """
    own = (
        *("sizes", "mask", "decoder", "decoder_mask", "pooling", "whole_word", "replaced", "special_ids"),
        *("continues", "mask_id", "head"),
    )
    config = trunk_config("the masked language model", vocab_size, trunk, own)
    pairs = _checked(sizes, config)
    check_rate("mask", mask)
    check_rate("decoder_mask", decoder_mask)
    check_known("pooling", pooling, POOLINGS)
    masking = Masking(
        vocab_size,
        _checked_mask(mask_id, vocab_size),
        as_ids("special_ids", special_ids, vocab_size),
        as_ids("continues", continues, vocab_size) if whole_word else (),
        check_replaced(replaced),
    )
    states, small = Trunk(config), Transformer(dataclasses.replace(config, layers=1))
    mlm = MlmHead(config, **dict(head or {}))
    depths, dims = zip(*pairs)
    shares = (mask, decoder_mask)

    @jax.jit
    def init(key: Array) -> Params:
        vector, table = jnp.zeros((1, config.dim)), jnp.zeros((vocab_size, config.dim))
        made = {
            "trunk": states.init(key),
            "mlm": mlm.init(jax.random.fold_in(key, 1), vector, table).get("params", {}),
        }
        if not decoder:
            return made
        return {**made, DECODER: _own(Trunk(small.config).init(jax.random.fold_in(key, 2)))}

    def predicted(params: Params, hidden: Array, masked: Masked) -> Array:
        """[s, n, m, d] -> [s, n, 2]: for each size and text the sum of -log p, and of how many tokens."""
        # The logits of one size at a time: there are more of them than of anything else.
        sums = jax.lax.map(lambda x: jax.checkpoint(losses)(params, x, masked), hidden)
        counts = jnp.broadcast_to(jnp.sum(masked.where, axis=1), sums.shape).astype(sums.dtype)
        return jnp.stack([sums, counts], axis=-1)

    def losses(params: Params, hidden: Array, masked: Masked) -> Array:
        def product(x: Array, matrix: Array, bias: Array | None) -> Array:
            z = jnp.einsum("...d,vd->...v", x, matrix.astype(x.dtype), preferred_element_type=jnp.float32)
            z = mlm.capped(z if bias is None else z + bias)
            right = jnp.take_along_axis(z, masked.labels[..., None], axis=-1)[..., 0]
            return jax.nn.logsumexp(z, axis=-1) - right

        nll = applied(params, hidden, product)
        return jnp.sum(jnp.where(masked.where, nll, 0), axis=1)

    def applied(params: Params, x: Array, product: Any) -> Array:
        table = params["trunk"]["token_embedding"]["embedding"]
        return mlm.apply({"params": params["mlm"]}, x.astype(config.dtype), table, product)

    def forward(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
    ) -> tuple[Array, ...]:
        if layers is not None:
            raise InputError("a masked language model has its own sizes: leave layers out")
        first, second, third = jax.random.split(jax.random.key(0) if key is None else key, 3)
        masked = masking(ids, mask, first, shares[0])
        drop = None if key is None else third
        found = states(params["trunk"], masked.ids, mask, packed=packed, layers=depths, key=drop)
        columns = [predicted(params, _cut(dims, [_at(x, masked) for x in found]), masked)]
        if decoder:
            heavier = masking(ids, mask, second, shares[1])
            vectors = _cut(dims, [POOLINGS[pooling](x, mask) for x in found])
            vectors = applied(params, vectors, lambda x, *_: x)
            apply = functools.partial(
                small.apply,
                {"params": {**_shared(params["trunk"]), **params[DECODER]}},
                heavier.ids,
                mask,
                train=key is not None,
                rngs=None if key is None else {"dropout": jax.random.fold_in(third, 1)},
            )
            decoded = jax.vmap(lambda x: _at(apply(first=x)[0], heavier))(vectors)
            columns.append(predicted(params, decoded, heavier))
        values = jnp.stack(columns, axis=2)  # [s, n, 1 or 2, 2]
        return (jnp.moveaxis(values, 0, 1).reshape(len(ids), -1),)

    encoder = assemble(
        init,
        dict.fromkeys(SIDES, forward),
        dim=(4 if decoder else 2) * len(pairs),
        projection=None,
        normalize=False,
        towers="tied",
        max_length=states.max_length,
        packs=True,
    )
    return encoder._replace(kind="losses")


def with_decoder(params: Params) -> Params:
    """The parameters with a decoder whose block is a copy of the trunk's first."""
    return {**params, DECODER: jax.tree.map(jnp.copy, _own(params["trunk"]))}


def _own(trunk: Params) -> Params:
    """What of a trunk is the decoder's: its first block, and the norm at the end."""
    return {name: trunk[name] for name in ("layers_0", "final_norm") if name in trunk}


def _shared(trunk: Params) -> Params:
    """What of a trunk the decoder uses as well: embeddings, and biases of relative positions."""
    return {name: x for name, x in trunk.items() if not name.startswith("layers_")}


def _at(hidden: Array, masked: Masked) -> Array:
    """The states [n, m, d] of the tokens to be predicted."""
    return jnp.take_along_axis(hidden, masked.at[..., None], axis=1)


def _cut(dims: Sequence[int], vectors: Sequence[Array]) -> Array:
    """[s, ..., d]: of each only its first dimensions, the others 0."""
    kept = lambda x, count: jnp.where(jnp.arange(x.shape[-1]) < count, x, 0)
    return jnp.stack([kept(x, count) for x, count in zip(vectors, dims)])


def _checked(sizes: Any, config: TransformerConfig) -> tuple[tuple[int, int], ...]:
    if sizes is None:
        return ((config.layers, config.dim),)
    pairs = tuple(tuple(size) if isinstance(size, Sequence) else (size,) for size in sizes)
    if not pairs or any(len(size) != 2 for size in pairs):
        raise InputError(f"sizes is {sizes!r}, expected pairs of layers and dims such as ((2, 32), (6, 96))")
    for number, dims in pairs:
        if not 1 <= number <= config.layers or not 1 <= dims <= config.dim:
            raise InputError(
                f"size ({number}, {dims}): the trunk has 1 to {config.layers} layers and 1 to {config.dim} "
                "dimensions"
            )
    for a, b in itertools.pairwise(pairs):
        if a == b or any(x > y for x, y in zip(a, b)):
            raise InputError(
                f"sizes must go from small to large without repetitions, and {b} comes after {a}"
            )
    return pairs


def _checked_mask(mask_id: int | None, vocab_size: int) -> int:
    if mask_id is None or not 0 <= mask_id < vocab_size:
        raise InputError(
            f"mask_id is {mask_id}, expected the id of the mask token, which "
            "jaxir.data.vocabulary.mask_id(tokenizer) finds"
        )
    return mask_id
