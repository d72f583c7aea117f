"""Learned sparse encoders: a text becomes non-negative weights of the vocabulary's entries.

c.encoder = dict(fn="jaxir.models.sparse:splade", layers=6, dim=384, heads=6, query="table")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxir.checks import InputError, check_known, check_positive
from jaxir.models import heads
from jaxir.models.config import TransformerConfig, trunk_config
from jaxir.models.fused_max import max_logits, sum_activated
from jaxir.models.mlm import MlmHead
from jaxir.models.pruning import keep_ratio as kept_by_ratio
from jaxir.models.pruning import top_k as kept_by_rank
from jaxir.models.towers import SIDES, assemble
from jaxir.models.transformer import Transformer
from jaxir.types import Array, Encoder, Params, Side


def _l0(x: Array) -> Array:
    return jnp.log1p(jnp.log1p(jax.nn.relu(x)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "log1p_relu": lambda x: jnp.log1p(jax.nn.relu(x)),
    "l0": _l0,
    "relu": jax.nn.relu,
}
POOLINGS = ("max", "sum", "last")
QUERIES = ("encoder", "bag", "table")
WEIGHTS = "query_weights"
"""The parameter of ``query="table"``."""

BySide = Mapping[str, Any] | int | float | None


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
        *("pooling", "activation", "query", "query_activation", "towers", "special_positions", "special_ids"),
        *("blocked_ids", "block_on", "top_k", "keep_ratio", "echo", "head", "tile", "trunk_activation"),
    )
    config = trunk_config("the splade encoder", vocab_size, trunk, own)
    check_known("query", query, QUERIES)
    if query != "encoder" and towers == "separate":
        raise InputError(f"query={query!r} has no encoder of queries: leave towers='tied'")
    check_known("pooling", pooling, POOLINGS)
    check_positive("tile", tile)
    special = as_ids("special_ids", special_ids, vocab_size)
    blocked = as_ids("blocked_ids", blocked_ids, vocab_size)
    for side in block_on:
        check_known("side in block_on", side, SIDES)
    vocabulary_head = VocabularyHead(config, head or {}, pooling, tile)
    activations = {"doc": activation, "query": query_activation or activation}
    for name in activations.values():
        check_known("activation", name, ACTIVATIONS)
    module = Transformer(config)

    @jax.jit
    def init(key: Array) -> Params:
        blank = jnp.zeros((1, 1), jnp.int32)
        trunk_params = module.init(key, blank, blank == 0)["params"]
        params = {"trunk": trunk_params, "mlm": vocabulary_head.init(jax.random.fold_in(key, 1))}
        return params | ({WEIGHTS: jnp.ones(vocab_size)} if query == "table" else {})

    ratios, ranks = by_side("keep_ratio", keep_ratio), by_side("top_k", top_k)

    def pruned(values: Array, side: Side) -> Array:
        if side in block_on:
            values = jnp.where(among(jnp.arange(vocab_size), blocked), 0, values)
        ratio, rank = ratios[side], ranks[side]
        values = values if ratio is None else kept_by_ratio(values, ratio)
        return values if rank is None else kept_by_rank(values, rank)

    def encoded(side: Side) -> Callable[..., tuple[Array, ...]]:
        f = ACTIVATIONS[activations[side]]

        def forward(
            params: Params,
            ids: Array,
            mask: Array,
            *,
            packed: Array | None = None,
            layers: Sequence[int] | None,
            key: Array | None,
        ) -> tuple[Array, ...]:
            pooled_over = mask if special_positions else mask & ~among(ids, special)
            if echo:
                second = mask & ~among(ids, special)
                pooled_over = jnp.concatenate([jnp.zeros_like(mask), pooled_over & second], axis=1)
                ids, mask = jnp.concatenate([ids, ids], axis=1), jnp.concatenate([mask, second], axis=1)
            states = module.apply(
                {"params": params["trunk"]},
                ids,
                mask,
                packed=packed,
                layers=layers,
                train=key is not None,
                rngs=None if key is None else {"dropout": key},
            )
            return tuple(pruned(vocabulary_head(params, x, pooled_over, f), side) for x in states)

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
    alike = lambda of: of["doc"] == of["query"]
    same = all(map(alike, (activations, ratios, ranks))) and set(block_on) in (set(), set(SIDES))
    forward = {"doc": one, "query": bag if query != "encoder" else one if same else encoded("query")}
    longest = config.max_positions if config.positions == "learned" else None
    encoder = assemble(
        init,
        forward,
        dim=vocab_size,
        projection=None,
        normalize=False,
        towers=towers,
        max_length=longest // 2 if longest and echo else longest,
        packs=not echo,
    )
    return encoder._replace(kind="sparse", table=None if query == "encoder" else table)


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
