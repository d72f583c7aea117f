"""Sparse vectors of a decoder's last token, in which the text's own terms keep a weight (PROSPER).

c.encoder = dict(fn="jaxir.models.prosper:prosper", layers=6, dim=384, heads=6)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxir import scoring
from jaxir.models import heads
from jaxir.models.config import trunk_config
from jaxir.models.sparse_head import ACTIVATIONS, BySide, among, present, sparse_head
from jaxir.models.towers import SIDES, assemble
from jaxir.models.trunk import Trunk
from jaxir.types import Array, Encoder, Params, Side

WINDOW = {"query": 256, "doc": 512}


def prosper(
    vocab_size: int,
    *,
    top_k: BySide = WINDOW,
    expose_base: bool = False,
    special_ids: Sequence[int] = (),
    blocked_ids: Sequence[int] = (),
    block_on: Sequence[str] = SIDES,
    head: Mapping[str, Any] | None = None,
    towers: str = "tied",
    **trunk: Any,
) -> Encoder:
    """W = w + I (max_v w'_v - w'), cut to its top k; queries are then divided by their length.

    w = log(1 + relu z) with the last real token's logits z; w' = FC(log(1 + relu h)) with its hidden state
    h; I is 1 on the text's own tokens: they get a residual of at least 0 (the literal residual
    network), so that they survive the cut to k entries (the lexical focusing window).

    Which of w and W the paper's FLOPS regularises is not clear from its text. By default the encoder
    gives W and FLOPS sees W, the literal terms included. With ``expose_base`` queries are [W ; w ; 0] and
    documents [W ; 0 ; w], 3 v wide: the dot product of two such vectors is still that of W alone,
    and a FLOPS term with ``columns=(v, None)`` sees the base w of either side; name ``vocab_size`` in the
    config, so that v is known. The parameters are the same: ``encoder.parts["sparse"]`` is the encoder
    without it, and what is indexed.

    Args:
      vocab_size: rows of the token embedding, and the width of the representation.
      top_k: the window's size k, one number or dict(query=..., doc=...); None = no cut.
      expose_base: appends w, see above.
      special_ids: special tokens, which are no literal terms; training fills them in.
      blocked_ids, block_on: entries whose weight is always 0, on these sides.
      head: arguments of :class:`jaxir.models.mlm.MlmHead`.
      towers: ``tied`` or ``separate`` ({"query": ..., "doc": ...}).
      **trunk: the fields of :class:`jaxir.models.config.TransformerConfig`; ``causal`` is True unless
        it is given.

    Parameters: {"trunk": ..., "mlm": ..., "literal": {"kernel": [dim, v], "bias": [v]}}.

    Raises:
      InputError: an unknown argument or name, ids outside the vocabulary, a k that keeps nothing.

    Reference: arXiv:2510.18527.

    >>> encoder = prosper(100, layers=1, dim=16, heads=2)
    >>> encoder.kind, encoder.dim
    ('sparse', 100)
    """
    own = ("top_k", "expose_base", "special_ids", "blocked_ids", "block_on", "head", "towers")
    config = trunk_config("the prosper encoder", vocab_size, {"causal": True, **trunk}, own)
    states, f = Trunk(config), ACTIVATIONS["log1p_relu"]
    sparse = sparse_head(
        config,
        pooling="last",
        special_ids=special_ids,
        blocked_ids=blocked_ids,
        block_on=block_on,
        top_k=top_k,
        head=head,
    )

    @jax.jit
    def init(key: Array) -> Params:
        kernel = jax.nn.initializers.lecun_normal()(jax.random.fold_in(key, 2), (config.dim, vocab_size))
        return {
            "trunk": states.init(key),
            "mlm": sparse.head.init(jax.random.fold_in(key, 1)),
            "literal": {"kernel": kernel, "bias": jnp.zeros(vocab_size)},
        }

    def forward(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
        side: Side,
        wanted: Sequence[str],
    ) -> tuple[Array, ...]:
        literal = present(ids, mask & ~among(ids, sparse.special), vocab_size)
        outputs = []
        for hidden in states(params["trunk"], ids, mask, packed=packed, layers=layers, key=key):
            w = sparse.head(params, hidden, mask, f)
            fc = params["literal"]
            drawn = jnp.matmul(f(heads.last(hidden, mask)), fc["kernel"], precision="highest") + fc["bias"]
            residual = jnp.max(drawn, axis=-1, keepdims=True) - drawn
            whole = sparse.pruned(w + literal * residual, side)
            made = {
                "sparse": scoring.normalize(whole) if side == "query" else whole,
                "base": jnp.concatenate([w, 0 * w] if side == "query" else [0 * w, w], axis=-1),
            }
            outputs.append(jnp.concatenate([made[name] for name in wanted], axis=-1))
        return tuple(outputs)

    def made_of(*wanted: str) -> Encoder:
        encoder = assemble(
            init,
            {side: functools.partial(forward, side=side, wanted=wanted) for side in SIDES},
            dim=sum({"sparse": 1, "base": 2}[name] for name in wanted) * vocab_size,
            projection=None,
            normalize=False,
            towers=towers,
            max_length=states.max_length,
            packs=True,
            layers=config.layers,
        )
        return encoder._replace(kind="sparse")

    if not expose_base:
        return made_of("sparse")
    # The base alone scores nothing: it is no part that could be searched.
    return made_of("sparse", "base")._replace(kind="hybrid", parts={"sparse": made_of("sparse")})
