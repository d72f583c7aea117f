"""Cross-encoders: a query and a document read together, and one number that says how well they match.

c.encoder = dict(fn="jaxir.models.cross_encoder:cross_encoder", layers=6, dim=384, heads=6, token_types=2)
c.data.pairs = "joined"

The document side of the encoder reads joined pairs, [CLS] query [SEP] document [SEP], and its representation
is the score, [..., 1]; the query side is 1 whatever it is given. The product of both is the score, so that
all that works on listed documents (losses, chunks, micro-batches, meshes) works with it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxir.checks import InputError, check_known, check_same_shape
from jaxir.models.config import TransformerConfig, trunk_config
from jaxir.models.heads import Pooling, find_pooling
from jaxir.models.layers import Dropout, Norm, dense
from jaxir.models.towers import ACTIVATIONS, SIDES, assemble
from jaxir.models.transformer import Transformer
from jaxir.types import Encoder, Params, Reps, Side, Tokens

POOLERS = tuple(ACTIVATIONS)
OWN = ("pooling", "pooler", "pooler_bias", "pooler_norm", "head_bias", "head_dropout", "sep_id")
"""Arguments of :func:`cross_encoder` beside the trunk's fields."""


class ScoreHead(nn.Module):
    """x -> head(drop(norm(activation(pooler drop(x))))), a number; ``pooler`` and the norm are optional.

    BERT: tanh; RoBERTa and MPNet the same under other names; DistilBERT: relu; ModernBERT: gelu and a norm;
    decoders: the last linear map alone. Parameters (float32): pooler, pooler_norm, head.
    """

    config: TransformerConfig
    pooler: str | None
    pooler_bias: bool
    pooler_norm: bool
    head_bias: bool
    dropout: float
    train: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b 1"]:
        """float32 scores of pooled states; in training with ``rngs={"dropout": key}``."""
        c = self.config
        if self.pooler is not None:
            x = Dropout(self.dropout, self.train, name="before")(x)
            x = ACTIVATIONS[self.pooler](dense(c, x, c.dim, self.pooler_bias, "pooler"))
        if self.pooler_norm:
            x = Norm(c, name="pooler_norm")(x)
        x = Dropout(self.dropout, self.train, name="after")(x.astype(jnp.float32))
        return nn.Dense(1, use_bias=self.head_bias, precision="highest", name="head")(x)


def cross_encoder(
    vocab_size: int,
    *,
    pooling: str | Sequence[str] | Pooling = "cls",
    pooler: str | None = "tanh",
    pooler_bias: bool = True,
    pooler_norm: bool = False,
    head_bias: bool = True,
    head_dropout: float = 0.1,
    sep_id: int | None = None,
    **trunk: Any,
) -> Encoder:
    """An encoder of kind "scores" from a transformer.

    Args:
      vocab_size: rows of the token embedding.
      pooling: which states are read, as in :func:`jaxir.models.encoder.transformer`: "cls", the first token;
        for a causal trunk "last".
      pooler: activation of a linear map before the last one (BERT: "tanh"); None = no such map.
      pooler_bias, head_bias: whether the two maps have biases; pooler_norm: a norm between them.
      head_dropout: dropout before each of them, in training.
      sep_id: the id that ends the query, where the trunk has two ``token_types``: tokens up to the first one
        are of type 0, those behind it of type 1. None = the tokenizer's, where it tells queries and documents
        apart so; -1 = all are of type 0.
      **trunk: the fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "pooler": {"kernel", "bias"}, "head": {"kernel": [dim, 1], "bias"}}.

    Raises:
      InputError: an unknown argument or name, sizes that do not fit, several poolings.

    >>> import jax, jax.numpy as jnp
    >>> encoder = cross_encoder(100, layers=2, dim=32, heads=2)
    >>> params = jax.eval_shape(encoder.init, jax.random.key(0))
    >>> pairs = Tokens(jnp.zeros((4, 7, 16), jnp.int32), jnp.ones((4, 7, 16), bool))
    >>> jax.eval_shape(lambda p: encoder.encode(p, pairs, side="doc"), params).values.shape
    (4, 7, 1)

    References: Nogueira and Cho 2019, Passage Re-ranking with BERT (arXiv:1901.04085).
    """
    config = trunk_config("the cross-encoder", vocab_size, trunk, OWN)
    pool, widths = find_pooling(pooling)
    if widths != 1:
        raise InputError(f"pooling of a cross-encoder is {pooling}: give one, such as 'cls'")
    if pooler is not None:
        check_known("pooler", pooler, POOLERS)
    if not 0 <= head_dropout <= 0.99:
        raise InputError(f"head_dropout is {head_dropout}, it must be from 0 to 0.99")
    module = Transformer(config)
    how = dict(
        pooler=pooler,
        pooler_bias=pooler_bias,
        pooler_norm=pooler_norm,
        head_bias=head_bias,
        dropout=head_dropout,
    )
    types = sep_id is not None and sep_id >= 0 and config.token_types > 1

    @jax.jit
    def init(key: Array) -> Params:
        blank, (first, second) = jnp.zeros((1, 1), jnp.int32), jax.random.split(key)
        head = ScoreHead(config, **how).init(second, jnp.zeros((1, config.dim)))
        return {"trunk": module.init(first, blank, blank == 0)["params"], **head["params"]}

    def forward(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None,
        layers: Sequence[int] | None,
        key: Array | None,
    ) -> tuple[Array, ...]:
        keys = (None, None) if key is None else jax.random.split(key)
        rngs = [None if k is None else {"dropout": k} for k in keys]
        states = module.apply(
            {"params": params["trunk"]},
            ids,
            mask,
            packed=packed,
            types=segments(ids, mask, sep_id) if types else None,
            layers=layers,
            train=key is not None,
            rngs=rngs[0],
        )
        head = ScoreHead(config, **how, train=key is not None)
        of_head = {name: x for name, x in params.items() if name != "trunk"}
        return tuple(head.apply({"params": of_head}, pool(state, mask), rngs=rngs[1]) for state in states)

    both = assemble(
        init,
        dict.fromkeys(SIDES, forward),
        dim=1,
        projection=None,
        normalize=False,
        towers="tied",
        max_length=config.max_positions if config.positions == "learned" else None,
        packs=True,
        layers=config.layers,
    )

    def encode(
        params: Params,
        tokens: Tokens,
        *,
        side: Side = "query",
        layers: Sequence[int] | None = None,
        key: Array | None = None,
    ) -> Reps | tuple[Reps, ...]:
        if side == "doc":
            return both.encode(params, tokens, side=side, layers=layers, key=key)
        check_known("side", side, SIDES)
        check_same_shape(ids=tokens.ids, mask=tokens.mask)
        ones = Reps(jnp.ones((*tokens.ids.shape[:-1], 1), jnp.float32))
        return ones if layers is None else (ones,) * len(layers)

    return both._replace(encode=encode, kind="scores")


def segments(ids: Int[Array, "b l"], mask: Bool[Array, "b l"], sep_id: int) -> Int[Array, "b l"]:
    """Token types of joined pairs: 0 up to and with the first separator of a row, 1 behind it.

    >>> segments(jnp.array([[2, 7, 3, 8, 3]]), jnp.ones((1, 5), bool), 3).tolist()
    [[0, 0, 0, 1, 1]]
    """
    ends = (mask & (ids == sep_id)).astype(jnp.int32)
    return ((jnp.cumsum(ends, axis=-1) - ends) > 0).astype(jnp.int32)
