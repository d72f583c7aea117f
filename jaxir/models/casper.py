"""Sparse vectors over tokens and phrases (CASPER): rows of the vocabulary for phrases, pooled their own way.

c.encoder = dict(fn="jaxir.models.casper:casper", layers=6, dim=384, heads=6, phrases=10_000)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxir.checks import InputError, check_known
from jaxir.models.config import trunk_config
from jaxir.models.fused_max import max_logits, sum_activated
from jaxir.models.mlm import MlmHead
from jaxir.models.sparse_head import ACTIVATIONS, BySide, sparse_head
from jaxir.models.towers import SIDES, assemble
from jaxir.models.trunk import Trunk
from jaxir.types import Array, Encoder, Params, Side

PHRASE_POOLINGS = ("sum", "mean_sqrt")


def casper(
    vocab_size: int,
    *,
    phrases: int,
    phrase_pooling: str = "sum",
    activation: str = "log1p_relu",
    special_ids: Sequence[int] = (),
    special_positions: bool = True,
    blocked_ids: Sequence[int] = (),
    block_on: Sequence[str] = SIDES,
    top_k: BySide = None,
    keep_ratio: BySide = None,
    head: Mapping[str, Any] | None = None,
    tile: int = 1024,
    towers: str = "tied",
    trunk_activation: str | None = None,
    **trunk: Any,
) -> Encoder:
    """Weights of v tokens, max-pooled over positions, then of p phrases, summed over positions.

    The representation is v + p wide and its dot product the score of tokens plus that of phrases. Terms of
    an objective see one of them by their ``columns``, (0, v) or (v, None), with a weight each; the paper's
    are 1 and 2, with one FLOPS over all columns. Name ``vocab_size`` in the config, so that v is known.
    (The paper also replaces the hard negative's score in the phrases' softmax by 0, which is not done here.)

    Phrases come from :func:`jaxir.data.phrases.maximum_coverage`, their rows from :func:`add_phrases`. They
    are entries of the output alone: a text is tokenised as before.

    Args:
      vocab_size: the tokenizer's size v, or above.
      phrases: their number p.
      phrase_pooling: ``sum`` over the positions, which grows with the text's length, or ``mean_sqrt``:
        the sum over the square root of their number.
      activation, special_ids, ..., tile: as in :func:`jaxir.models.sparse.splade`; blocking and pruning see
        tokens and phrases as one vocabulary.
      towers: ``tied`` or ``separate`` ({"query": ..., "doc": ...}).
      trunk_activation: the trunk's own ``activation``, whose name is taken here; None = its default.
      **trunk: the other fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "mlm": ...}, with v + p rows in the token embedding and the head's bias.

    Raises:
      InputError: an unknown argument or name, ids outside the vocabulary, a negative number of phrases.

    Reference: arXiv:2508.13394.

    >>> encoder = casper(100, phrases=20, layers=1, dim=16, heads=2)
    >>> encoder.kind, encoder.dim
    ('sparse', 120)
    """
    if phrases < 0:
        raise InputError(f"phrases is {phrases}, it must be their number, 0 or above")
    check_known("phrase_pooling", phrase_pooling, PHRASE_POOLINGS)
    if trunk_activation is not None:
        trunk["activation"] = trunk_activation
    own = (
        *("phrases", "phrase_pooling", "activation", "special_ids", "special_positions", "blocked_ids"),
        *("block_on", "top_k", "keep_ratio", "head", "tile", "towers", "trunk_activation"),
    )
    config = trunk_config("the casper encoder", vocab_size + phrases, trunk, own)
    states = Trunk(config)
    sparse = sparse_head(
        config,
        activation=activation,
        special_ids=special_ids,
        special_positions=special_positions,
        blocked_ids=blocked_ids,
        block_on=block_on,
        top_k=top_k,
        keep_ratio=keep_ratio,
        head=head,
        tile=tile,
    )
    f, mlm = ACTIVATIONS[activation], MlmHead(config, **sparse.head.arguments)

    @jax.jit
    def init(key: Array) -> Params:
        return {"trunk": states.init(key), "mlm": sparse.head.init(jax.random.fold_in(key, 1))}

    def weights(params: Params, hidden: Array, mask: Array) -> Array:
        def pool(x: Array, matrix: Array, bias: Array | None) -> Array:
            of_tokens, of_phrases = (None, None) if bias is None else (bias[:vocab_size], bias[vocab_size:])
            tokens = f(mlm.capped(max_logits(x, mask, matrix[:vocab_size], of_tokens, tile=tile)))
            if not phrases:
                return tokens
            activated = lambda z: f(mlm.capped(z))
            summed = sum_activated(x, mask, matrix[vocab_size:], of_phrases, activated, tile=tile)
            if phrase_pooling == "mean_sqrt":
                summed = summed / jnp.sqrt(jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1))
            return jnp.concatenate([tokens, summed], axis=-1)

        return mlm.apply(
            {"params": params["mlm"]}, hidden, params["trunk"]["token_embedding"]["embedding"], pool
        )

    def forward(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
        side: Side,
    ) -> tuple[Array, ...]:
        found = states(params["trunk"], ids, mask, packed=packed, layers=layers, key=key)
        over = sparse.pooled_over(ids, mask)
        return tuple(sparse.pruned(weights(params, hidden, over), side) for hidden in found)

    doc = functools.partial(forward, side="doc")
    encoder = assemble(
        init,
        {"query": doc if sparse.alike else functools.partial(forward, side="query"), "doc": doc},
        dim=vocab_size + phrases,
        projection=None,
        normalize=False,
        towers=towers,
        max_length=states.max_length,
        packs=True,
        layers=config.layers,
    )
    return encoder._replace(kind="sparse")


def add_phrases(params: Params, phrases: Sequence[Sequence[int]]) -> Params:
    """The parameters of a SPLADE encoder or a backbone, with a row for each phrase (its token ids).

    A phrase's row, and its bias, is the mean of those of its tokens.

    Raises:
      InputError: a phrase without tokens.
    """
    for number, phrase in enumerate(phrases):
        if not len(phrase):
            raise InputError(f"phrase {number} has no tokens: leave it out")

    def longer(rows: Array) -> Array:
        table = np.asarray(rows)
        more = [table[np.asarray(phrase)].mean(axis=0) for phrase in phrases]
        return (
            jnp.concatenate([jnp.asarray(rows), jnp.asarray(np.array(more, table.dtype))]) if more else rows
        )

    trunk = {**params["trunk"], "token_embedding": jax.tree.map(longer, params["trunk"]["token_embedding"])}
    if "mlm" not in params:
        return {**params, "trunk": trunk}
    mlm = dict(params["mlm"])
    if "bias" in mlm:
        mlm["bias"] = longer(mlm["bias"])
    if "decoder" in mlm:  # a linear map's kernel [d, v]
        mlm["decoder"] = jax.tree.map(lambda kernel: longer(kernel.T).T, mlm["decoder"])
    return {**params, "trunk": trunk, "mlm": mlm}
