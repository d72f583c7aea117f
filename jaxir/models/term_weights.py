"""Sparse encoders that weigh the words of the text itself and add no others: uniCOIL, TILDEv2, DeepImpact.

c.encoder = dict(fn="jaxir.models.term_weights:term_weights", layers=6, dim=384, heads=6, query="ones")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxir.checks import InputError, check_known
from jaxir.models.config import TransformerConfig, trunk_config
from jaxir.models.layers import Dropout, dense
from jaxir.models.sparse_head import among, as_ids, present
from jaxir.models.towers import SIDES, assemble
from jaxir.models.trunk import Trunk
from jaxir.types import Array, Encoder, Params

WEIGH = ("linear", "mlp")
TERMS = ("all", "first")
QUERIES = ("weights", "ones", "distinct")


def term_weights(
    vocab_size: int,
    *,
    weigh: str = "linear",
    terms: str = "all",
    query: str = "weights",
    special_ids: Sequence[int] = (),
    blocked_ids: Sequence[int] = (),
    continues: Sequence[int] = (),
    towers: str = "tied",
    **trunk: Any,
) -> Encoder:
    """Weights of a text's own tokens, from their hidden states: u_l = relu(g(h_l)).

    Documents: w_v = max of u_l over the positions l with token v. Queries: q_v = sum of u_i over the
    positions i with token v. Their dot product is sum_i u_i max_{l: t_l = t_i} u_l, the score of exact
    matches; so any index of sparse vectors searches it.

        uniCOIL     the defaults                                              arXiv:2106.14807
        TILDEv2     query="ones"                                              arXiv:2108.08513
        DeepImpact  weigh="mlp", terms="first", query="distinct", continues=  arXiv:2104.12016

    Args:
      vocab_size: rows of the token embedding, and the width of the representation.
      weigh: g, a ``linear`` map to one number, or ``mlp``: linear, relu, dropout, linear.
      terms: ``all`` occurrences in a document compete, or the ``first`` one alone counts.
      query: ``weights`` as above; ``ones``: every occurrence weighs 1, so that repeated tokens add;
        ``distinct``: each distinct token weighs 1. With the last two queries need no trunk.
      special_ids: the tokenizer's special tokens, which are never active; training fills them in.
      blocked_ids: other tokens that are never active, such as stop words.
      continues: tokens that are never active because they continue a word (``##ing``): a word is then
        represented by its first token. A config may say "continuations", which training turns into ids.
      towers: ``tied`` or, for ``query="weights"``, ``separate`` ({"query": ..., "doc": ...}).
      **trunk: the fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "weight": {"out": {"kernel": [dim, 1], "bias": [1]}}}, with an mlp also
    "inner".

    Raises:
      InputError: an unknown argument or name; ids outside the vocabulary; separate towers of which
        queries would need none.

    >>> from jaxir.types import Tokens
    >>> encoder = term_weights(100, layers=1, dim=16, heads=2, query="ones", special_ids=(2,))
    >>> text = Tokens(jnp.array([[2, 6, 6, 0]]), jnp.array([[True, True, True, False]]))
    >>> encoder.encode({}, text, side="query").values[0, :8].tolist()  # counts need no parameters
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0]
    """
    own = ("weigh", "terms", "query", "special_ids", "blocked_ids", "continues", "towers")
    config = trunk_config("the term_weights encoder", vocab_size, trunk, own)
    check_known("weigh", weigh, WEIGH)
    check_known("terms", terms, TERMS)
    check_known("query", query, QUERIES)
    if query != "weights" and towers == "separate":
        raise InputError(f"query={query!r} has no encoder of queries: leave towers='tied'")
    never = (
        *as_ids("special_ids", special_ids, vocab_size),
        *as_ids("blocked_ids", blocked_ids, vocab_size),
        *as_ids("continues", continues, vocab_size),
    )
    states, head = Trunk(config), TermWeight(config, weigh)

    @jax.jit
    def init(key: Array) -> Params:
        weight = head.init(jax.random.fold_in(key, 1), jnp.zeros((1, config.dim)))["params"]
        return {"trunk": states.init(key), "weight": weight}

    def weights(params: Params, hidden: Array, key: Array | None) -> Array:
        rngs = None if key is None else {"dropout": jax.random.fold_in(key, 1)}
        return head.apply({"params": params["weight"]}, hidden, train=key is not None, rngs=rngs)

    def doc(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
    ) -> tuple[Array, ...]:
        real, outputs = mask & ~among(ids, never), []
        for hidden in states(params["trunk"], ids, mask, packed=packed, layers=layers, key=key):
            w = weights(params, hidden, key)
            best = first_of_each(ids, real) if terms == "first" else best_of_each(ids, real, w)
            outputs.append(on_vocabulary(ids, best, w, vocab_size))
        return tuple(outputs)

    def weighed(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
    ) -> tuple[Array, ...]:
        real = mask & ~among(ids, never)
        found = states(params["trunk"], ids, mask, packed=packed, layers=layers, key=key)
        return tuple(on_vocabulary(ids, real, weights(params, x, key), vocab_size) for x in found)

    def counted(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
    ) -> tuple[Array, ...]:
        del params, packed, key
        real = mask & ~among(ids, never)
        if query == "distinct":
            values = present(ids, real, vocab_size)
        else:
            values = on_vocabulary(ids, real, jnp.ones(ids.shape), vocab_size)
        return (values,) * (1 if layers is None else len(layers))

    def table(params: Params) -> Array:
        return jnp.where(among(jnp.arange(vocab_size), never), 0.0, 1.0)

    encoder = assemble(
        init,
        dict(zip(SIDES, (weighed if query == "weights" else counted, doc))),
        dim=vocab_size,
        projection=None,
        normalize=False,
        towers=towers,
        max_length=states.max_length,
        packs=True,
        layers=config.layers,
    )
    return encoder._replace(kind="sparse", table=table if query == "distinct" else None)


class TermWeight(nn.Module):
    """relu(g(h)): hidden states [..., d] -> one weight per token [...], in float32."""

    config: TransformerConfig
    weigh: str = "linear"

    @nn.compact
    def __call__(self, hidden: Float[Array, "*batch d"], *, train: bool = False) -> Float[Array, "*batch"]:
        c, x = self.config, hidden
        if self.weigh == "mlp":
            x = Dropout(c.dropout, train)(jax.nn.relu(dense(c, x, c.dim, True, "inner")))
        return jax.nn.relu(dense(c, x, 1, True, "out")[..., 0].astype(jnp.float32))


def best_of_each(
    ids: Int[Array, "n l"], real: Bool[Array, "n l"], weights: Float[Array, "n l"]
) -> Bool[Array, "n l"]:
    """Where each distinct token of a text has its largest weight, of equal ones the first."""
    mine, other = weights[:, :, None], weights[:, None, :]
    return real & ~jnp.any(_same(ids, real) & ((other > mine) | ((other == mine) & _earlier(ids))), axis=-1)


def first_of_each(ids: Int[Array, "n l"], real: Bool[Array, "n l"]) -> Bool[Array, "n l"]:
    """Where each distinct token of a text stands first."""
    return real & ~jnp.any(_same(ids, real) & _earlier(ids), axis=-1)


def on_vocabulary(
    ids: Int[Array, "n l"], where: Bool[Array, "n l"], weights: Float[Array, "n l"], vocab_size: int
) -> Float[Array, "n v"]:
    """The sum of the weights of each vocabulary entry, over the positions ``where``."""
    rows = jnp.arange(ids.shape[0])[:, None]
    at = jnp.where(where, ids, vocab_size)  # beyond the vocabulary: dropped
    blank = jnp.zeros((ids.shape[0], vocab_size), weights.dtype)
    return blank.at[rows, at].add(jnp.where(where, weights, 0), mode="drop")


def _same(ids: Array, real: Array) -> Array:
    return (ids[:, :, None] == ids[:, None, :]) & real[:, None, :]


def _earlier(ids: Array) -> Array:
    position = jnp.arange(ids.shape[1])
    return position[None, :] < position[:, None]
