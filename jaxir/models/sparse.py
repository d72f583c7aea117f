"""Learned sparse encoders: a text becomes non-negative weights of the vocabulary's entries.

c.encoder = dict(fn="jaxir.models.sparse:splade", layers=6, dim=384, heads=6, query="table")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxir.checks import InputError, check_known
from jaxir.models.config import trunk_config
from jaxir.models.sparse_head import BySide, among, present, sparse_head
from jaxir.models.towers import SIDES, assemble
from jaxir.models.trunk import Trunk
from jaxir.types import Array, Encoder, Params, Side

QUERIES = ("encoder", "bag", "table")
WEIGHTS = "query_weights"
"""The parameter of ``query="table"``."""


def splade(
    vocab_size: int,
    *,
    pooling: str = "max",
    activation: str = "log1p_relu",
    query: str = "encoder",
    query_activation: str | None = None,
    towers: str = "tied",
    special_positions: bool = True,
    special_ids: Sequence[Any] = (),
    blocked_ids: Sequence[Any] = (),
    block_on: Sequence[str] = SIDES,
    top_k: BySide = None,
    keep_ratio: BySide = None,
    echo: bool = False,
    head: Mapping[str, Any] | None = None,
    tile: int = 1024,
    trunk_activation: str | None = None,
    **trunk: Any,
) -> Encoder:
    r"""SPLADE and its relatives: w_j = pool_l f(z_lj), with z the logits of a head over the vocabulary.

    The logits z [l, v] are never held as a whole (:mod:`jaxir.models.fused_max`). Scores are dot products,
    without normalisation or temperature. A text without a real token is the zero vector.

    Args:
      vocab_size: rows of the token embedding, and the width of the representation.
      pooling: ``max`` over positions (SPLADE v2), ``sum`` (v1), or ``last``: the last real token alone, for
        causal trunks. Among equal maxima the first position gets the gradient.
      activation: f, ``log1p_relu`` = log(1 + relu z), ``l0`` = log(1 + log(1 + relu z)), or ``relu``.
      query: ``encoder``: as documents. ``bag``: weight 1 for each distinct token of the query (SPLADE-doc).
        ``table``: the parameter ``query_weights`` [v], relu'd, for each distinct token: inference-free.
        Frozen and filled with inverse document frequencies it is the IDF query of arXiv:2411.04403,
        trained it is Li-LSR's table (arXiv:2505.01452). Special tokens have no weight in either.
      query_activation: f of queries where it differs, e.g. ``log1p_relu`` beside documents with ``l0``.
      towers: ``tied`` or, for ``query="encoder"``, ``separate`` ({"query": ..., "doc": ...}).
      special_positions: whether [CLS], [SEP], ... (``special_ids``) take part in pooling.
      special_ids: the tokenizer's special tokens; training fills them in.
      blocked_ids: vocabulary entries whose weight is always 0, on the sides ``block_on``. A config may say
        ("special", "punctuation", "stopwords"), which training turns into ids.
      top_k: at most this many active entries, the largest; one number or dict(query=..., doc=...). Bags and
        tables of queries are not pruned.
      keep_ratio: only entries above this share of the text's largest, in the same way.
      echo: the text is read twice, and pooled over the second copy, in which a causal trunk has seen all of
        it (arXiv:2402.15449); special tokens are not repeated. Twice the length.
      head: arguments of :class:`jaxir.models.mlm.MlmHead`; ``dict(transform=False)`` multiplies hidden states
        with the token embedding itself, which gives any backbone a head.
      tile: vocabulary entries whose logits are made at a time.
      trunk_activation: the trunk's own ``activation``, whose name is taken here; None = its default.
      **trunk: the other fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "mlm": ..., "query_weights": [v] for ``query="table"``}.

    Raises:
      InputError: an unknown argument, name or side; names that are not ids yet; bags with separate towers.

    References: Formal et al. 2021 (arXiv:2107.05720, arXiv:2109.10086); l0: arXiv:2504.14839.

    >>> from jaxir.types import Tokens
    >>> encoder = splade(100, layers=1, dim=16, heads=2, query="bag")
    >>> params = encoder.init(jax.random.key(0))
    >>> text = Tokens(jnp.array([[5, 6, 6, 0]]), jnp.array([[True, True, True, False]]))
    >>> encoder.encode(params, text, side="query").values.sum().item()
    2.0
    >>> encoder.encode(params, text, side="doc").values.shape
    (1, 100)
    """
    if trunk_activation is not None:
        trunk["activation"] = trunk_activation
    own = (
        *(
            "pooling",
            "activation",
            "query",
            "query_activation",
            "towers",
            "special_positions",
            "special_ids",
        ),
        *(
            "blocked_ids",
            "block_on",
            "top_k",
            "keep_ratio",
            "echo",
            "head",
            "tile",
            "trunk_activation",
        ),
    )
    config = trunk_config("the splade encoder", vocab_size, trunk, own)
    check_known("query", query, QUERIES)
    if query != "encoder" and towers == "separate":
        raise InputError(f"query={query!r} has no encoder of queries: leave towers='tied'")
    states = Trunk(config)
    activations = {"doc": activation, "query": query_activation or activation}
    heads = {
        side: sparse_head(
            config,
            pooling=pooling,
            activation=name,
            special_ids=special_ids,
            special_positions=special_positions,
            blocked_ids=blocked_ids,
            block_on=block_on,
            top_k=top_k,
            keep_ratio=keep_ratio,
            head=head,
            tile=tile,
        )
        for side, name in activations.items()
    }
    special, blocked = heads["doc"].special, heads["doc"].blocked

    def init(key: Array) -> Params:
        mlm = heads["doc"].head.init(jax.random.fold_in(key, 1))
        weights = {WEIGHTS: jnp.ones(vocab_size)} if query == "table" else {}
        return {"trunk": states.init(key), "mlm": mlm, **weights}

    def encoded(side: Side) -> Callable[..., tuple[Array, ...]]:
        def forward(
            params: Params,
            ids: Array,
            mask: Array,
            *,
            packed: Array | None = None,
            layers: Sequence[int] | None,
            key: Array | None,
        ) -> tuple[Array, ...]:
            pooled = mask
            if echo:
                second = mask & ~among(ids, special)
                pooled = jnp.concatenate([jnp.zeros_like(mask), second], axis=1)
                ids, mask = (
                    jnp.concatenate([ids, ids], axis=1),
                    jnp.concatenate([mask, second], axis=1),
                )
            hidden = states(params["trunk"], ids, mask, packed=packed, layers=layers, key=key)
            return tuple(heads[side](params, x, ids, pooled, side) for x in hidden)

        return forward

    def bag(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
    ) -> tuple[Array, ...]:
        del packed, key
        values = present(ids, mask, vocab_size) * table(params)
        return (values,) * (1 if layers is None else len(layers))

    def table(params: Params) -> Array:
        weights = jax.nn.relu(params[WEIGHTS]) if query == "table" else jnp.ones(vocab_size)
        never = (*special, *(blocked if "query" in block_on else ()))
        return jnp.where(among(jnp.arange(vocab_size), never), 0, weights)

    one = encoded("doc")
    same = heads["doc"].alike and len({*activations.values()}) == 1
    forward = {
        "doc": one,
        "query": bag if query != "encoder" else one if same else encoded("query"),
    }
    longest = states.max_length
    encoder = assemble(
        init,
        forward,
        dim=vocab_size,
        projection=None,
        normalize=False,
        towers=towers,
        max_length=longest // 2 if longest and echo else longest,
        packs=not echo,
        layers=config.layers,
    )
    return encoder._replace(kind="sparse", table=None if query == "encoder" else table)
