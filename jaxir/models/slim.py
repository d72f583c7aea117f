"""Late interaction of tokens in lexical space (SLIM): each token keeps its k largest vocabulary weights.

c.encoder = dict(fn="jaxir.models.slim:slim", layers=6, dim=384, heads=6, top_k=20)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxir.checks import check_positive
from jaxir.models.config import trunk_config
from jaxir.models.fused_max import check_tile
from jaxir.models.mlm import MlmHead
from jaxir.models.pruning import check_k
from jaxir.models.sparse_head import ACTIVATIONS, VocabularyHead
from jaxir.models.term_weights import on_vocabulary
from jaxir.models.towers import assemble
from jaxir.models.trunk import Trunk
from jaxir.types import Array, Encoder, Params, Reps, Side, Tokens


def slim(
    vocab_size: int,
    *,
    top_k: int = 20,
    fused: bool = True,
    skip_first: bool = True,
    head: Mapping[str, Any] | None = None,
    tile: int = 1024,
    towers: str = "tied",
    trunk_activation: str | None = None,
    **trunk: Any,
) -> Encoder:
    """phi_l = the k largest of log(1 + relu z_l) for each token l, exactly k of them, ties lowest id first.

    Its score is s = sum_i max_l <phi^q_i, phi^d_l> (:func:`slim_score`). Retrieval has two stages: with
    ``fused`` (the default) the encoder gives one sparse vector per text, sum_i phi^q_i or max_l phi^d_l,
    whose dot product is at least s; it is trained, indexed and searched like any sparse encoder. Without it
    the encoder, of kind "tokens" and the same parameters, gives the sets phi for scoring what was found:
    values [..., l, 2 k], first the k weights of each token, then their ids as numbers.

    Args:
      vocab_size: rows of the token embedding, below 2^24.
      top_k: k, weights per token.
      fused: see above.
      skip_first: leaves out the first position, [CLS].
      head: arguments of :class:`jaxir.models.mlm.MlmHead`.
      tile: vocabulary entries whose logits are made at a time.
      towers: ``tied`` or ``separate`` ({"query": ..., "doc": ...}).
      trunk_activation: the trunk's own ``activation``; None = its default.
      **trunk: the other fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "mlm": ...}.

    Raises:
      InputError: an unknown argument or name, a k or tile below 1.

    Reference: arXiv:2302.06587.

    >>> slim(100, layers=1, dim=16, heads=2).dim, slim(100, layers=1, dim=16, heads=2, fused=False).dim
    (100, 40)
    """
    if trunk_activation is not None:
        trunk["activation"] = trunk_activation
    own = ("top_k", "fused", "skip_first", "head", "tile", "towers", "trunk_activation")
    config = trunk_config("the slim encoder", vocab_size, trunk, own)
    check_positive("vocab_size", vocab_size)
    check_k(top_k)
    check_tile(tile)
    k = min(top_k, vocab_size)
    states, mlm = Trunk(config), MlmHead(config, **dict(head or {}))
    f = ACTIVATIONS["log1p_relu"]

    @jax.jit
    def init(key: Array) -> Params:
        vocabulary_head = VocabularyHead(config, dict(head or {}))
        return {"trunk": states.init(key), "mlm": vocabulary_head.init(jax.random.fold_in(key, 1))}

    def sets(params: Params, hidden: Array, real: Array) -> Array:
        """[n, l, 2 k]: weights, then ids."""

        def largest(x: Array, matrix: Array, bias: Array | None) -> Array:
            ids = top_ids(x, matrix, bias, k, tile)
            # The k logits once more, so that their gradient does not pass through all of them.
            rows = jnp.take(matrix, ids, axis=0).astype(x.dtype)
            logits = jnp.einsum("nld,nlkd->nlk", x, rows, preferred_element_type=jnp.float32)
            logits = mlm.capped(logits if bias is None else logits + bias[ids])
            weights = jnp.where(real[..., None], f(logits), 0)
            return jnp.concatenate([weights, ids.astype(weights.dtype)], axis=-1)

        embedding = params["trunk"]["token_embedding"]["embedding"]
        return mlm.apply({"params": params["mlm"]}, hidden, embedding, largest)

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
        phi = [sets(params, hidden, taking_part(mask, skip_first)) for hidden in found]
        if fused:
            return tuple(fuse(x, side, vocab_size) for x in phi)
        return tuple(x.reshape(len(ids), -1) for x in phi)

    doc = functools.partial(forward, side="doc")
    encoder = assemble(
        init,
        {"query": functools.partial(forward, side="query") if fused else doc, "doc": doc},
        dim=vocab_size if fused else 2 * k,
        projection=None,
        normalize=False,
        towers=towers,
        max_length=states.max_length,
        packs=True,
        layers=config.layers,
    )
    if fused:
        return encoder._replace(kind="sparse")

    def encode(params: Params, tokens: Tokens, **how: Any) -> Reps | tuple[Reps, ...]:
        mask = taking_part(jnp.asarray(tokens.mask), skip_first)
        unfold = lambda found: Reps(found.values.reshape(*mask.shape, 2 * k), mask)
        found = encoder.encode(params, tokens, **how)
        return unfold(found) if how.get("layers") is None else tuple(map(unfold, found))

    return encoder._replace(kind="tokens", encode=encode)


def slim_score(queries: Float[Array, "x i c"], docs: Float[Array, "y l e"]) -> Float[Array, "x y"]:
    """s = sum_i max_l <phi^q_i, phi^d_l> of all pairs of token sets, as an unfused encoder gives them.

    Padding has weights of 0 and changes nothing; a text without tokens scores 0. For what a first stage
    found: of a query's and y documents' sets the largest array is [y, i, l, k].
    """
    docs_weights, docs_ids = jnp.split(docs, 2, axis=-1)

    def of_query(query: Array) -> Array:
        weights, ids = jnp.split(query, 2, axis=-1)
        known = jnp.sort(ids.reshape(-1))  # its ids, each at the place of its first occurrence
        rows = jnp.arange(len(ids))[:, None]
        table = jnp.zeros((len(ids), known.size)).at[rows, jnp.searchsorted(known, ids)].add(weights)

        def with_doc(doc_weights: Array, doc_ids: Array) -> Array:
            place = jnp.minimum(jnp.searchsorted(known, doc_ids), known.size - 1)
            matching = jnp.where(known[place] == doc_ids, doc_weights, 0)
            return jnp.sum(jnp.max(jnp.sum(table[:, place] * matching, axis=-1), axis=-1))

        return jax.vmap(with_doc)(docs_weights, docs_ids)

    return jax.lax.map(of_query, queries)


def fuse(values: Float[Array, "n l c"], side: str, vocab_size: int) -> Float[Array, "n {vocab_size}"]:
    """One vector per text for the first stage: the sum of its sets for queries, their maximum for docs.

    Of equal weights the first position gets the gradient.
    """
    weights, ids = (x.reshape(len(values), -1) for x in jnp.split(values, 2, axis=-1))
    ids = ids.astype(jnp.int32)
    if side == "query":
        return on_vocabulary(ids, weights > 0, weights, vocab_size)
    fixed = jax.lax.stop_gradient(weights)
    rows, place = jnp.arange(len(ids))[:, None], jnp.arange(ids.shape[1])[None]
    best = jnp.zeros((len(ids), vocab_size), fixed.dtype).at[rows, ids].max(fixed)
    largest = (fixed > 0) & (fixed == best[rows, ids])
    nowhere = jnp.full((len(ids), vocab_size), ids.shape[1])
    first = nowhere.at[rows, jnp.where(largest, ids, vocab_size)].min(place, mode="drop")
    return on_vocabulary(ids, largest & (first[rows, ids] == place), weights, vocab_size)


def top_ids(x: Array, table: Array, bias: Array | None, k: int, tile: int) -> Array:
    """The ids [n, l, k] of each position's k largest logits x table^T + bias, a tile of them at a time."""
    x, table, bias = jax.lax.stop_gradient((x, table, bias))
    v, tile = len(table), min(tile, len(table))
    cut = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=tile)

    def step(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        start = jnp.minimum(i * tile, v - tile)
        rows = cut(table, start).astype(x.dtype)
        logits = jnp.einsum("nld,td->nlt", x, rows, preferred_element_type=jnp.float32)
        logits = logits if bias is None else logits + cut(bias, start)
        ids = start + jnp.arange(tile)
        logits = jnp.where(ids >= i * tile, logits, -jnp.inf)  # the last tile overlaps the one before
        values = jnp.concatenate([found[0], logits], axis=-1)
        numbers = jnp.concatenate([found[1], jnp.broadcast_to(ids, logits.shape)], axis=-1)
        values, places = jax.lax.top_k(values, k)
        return values, jnp.take_along_axis(numbers, places, axis=-1)

    blank = jnp.full((*x.shape[:-1], k), -jnp.inf), jnp.zeros((*x.shape[:-1], k), jnp.int32)
    return jax.lax.fori_loop(0, -(-v // tile), step, blank)[1]


def taking_part(mask: Array, skip_first: bool) -> Array:
    """The real positions, without the first one where it is skipped."""
    return mask & (jnp.cumsum(mask, axis=-1) > 1) if skip_first else mask
