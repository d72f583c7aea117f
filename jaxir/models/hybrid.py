"""One trunk that gives a dense and a sparse representation in one pass.

c.encoder = dict(fn="jaxir.models.hybrid:hybrid", layers=6, dim=384, heads=6, top_k=512)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxir import scoring
from jaxir.checks import check_positive
from jaxir.models.config import trunk_config
from jaxir.models.heads import Pooling, find_pooling
from jaxir.models.sparse_head import BySide, sparse_head
from jaxir.models.towers import SIDES, assemble
from jaxir.models.trunk import Trunk
from jaxir.types import Array, Encoder, Params, Side

PARTS = ("dense", "sparse")


def hybrid(
    vocab_size: int,
    *,
    pooling: str | Sequence[str] | Pooling = "cls",
    projection: int | None = None,
    normalize: bool = True,
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
    """[dense ; sparse] of the same hidden states: a pooled vector, then a weight per vocabulary entry.

    The dot product of two such representations is the sum of both scores. Terms of an objective see one
    part each by their ``columns``: dense (0, d), sparse (d, d + v), with d the width of the dense part;
    ``encoder.parts["dense"]`` and ``["sparse"]`` are encoders of the same parameters that compute one
    part alone, for two indexes whose runs are fused.

    HybridPQA (arXiv:2405.13173): towers="separate", normalize=False, top_k=512, blocked_ids of special
    tokens, punctuation and stop words; one softmax per part with temperature 0.5, and FLOPS.

    Args:
      vocab_size: rows of the token embedding, and the width of the sparse part.
      pooling: of the dense part, as in :func:`jaxir.models.encoder.transformer`.
      projection: width of a linear map after it; None = none.
      normalize: whether the dense part has length 1.
      activation, special_ids, ..., tile: of the sparse part, as in :func:`jaxir.models.sparse.splade`.
      towers: ``tied`` or ``separate`` ({"query": ..., "doc": ...}).
      trunk_activation: the trunk's own ``activation``, whose name is taken here; None = its default.
      **trunk: the other fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "mlm": ..., "projection": {"kernel": [dim, projection]}}.

    Raises:
      InputError: an unknown argument or name, ids outside the vocabulary, sizes that do not fit.

    >>> encoder = hybrid(100, layers=1, dim=16, heads=2, projection=4)
    >>> encoder.kind, encoder.dim, encoder.parts["dense"].dim, encoder.parts["sparse"].dim
    ('hybrid', 104, 4, 100)
    """
    if trunk_activation is not None:
        trunk["activation"] = trunk_activation
    own = (
        *("pooling", "projection", "normalize", "activation", "special_ids", "special_positions"),
        *("blocked_ids", "block_on", "top_k", "keep_ratio", "head", "tile", "towers", "trunk_activation"),
    )
    config = trunk_config("the hybrid encoder", vocab_size, trunk, own)
    pool, widths = find_pooling(pooling)
    if projection is not None:
        check_positive("projection", projection)
    width = projection or widths * config.dim
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

    @jax.jit
    def init(key: Array) -> Params:
        params = {"trunk": states.init(key), "mlm": sparse.head.init(jax.random.fold_in(key, 1))}
        if projection is not None:
            shape = (widths * config.dim, projection)
            kernel = jax.nn.initializers.lecun_normal()(jax.random.fold_in(key, 2), shape)
            params["projection"] = {"kernel": kernel}
        return params

    def dense(params: Params, hidden: Array, mask: Array) -> Array:
        x = pool(hidden, mask)
        if projection is not None:
            x = jnp.matmul(x, params["projection"]["kernel"], precision="highest")
        return scoring.normalize(x) if normalize else x

    def forward(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None,
        key: Array | None,
        wanted: Sequence[str],
        side: Side,
    ) -> tuple[Array, ...]:
        outputs = []
        for hidden in states(params["trunk"], ids, mask, packed=packed, layers=layers, key=key):
            made = [dense(params, hidden, mask)] if "dense" in wanted else []
            made += [sparse(params, hidden, ids, mask, side)] if "sparse" in wanted else []
            outputs.append(jnp.concatenate(made, axis=-1))
        return tuple(outputs)

    def made_of(wanted: Sequence[str], size: int) -> Encoder:
        doc = functools.partial(forward, wanted=wanted, side="doc")
        alike = sparse.alike or "sparse" not in wanted
        query = doc if alike else functools.partial(forward, wanted=wanted, side="query")
        return assemble(
            init,
            {"query": query, "doc": doc},
            dim=size,
            projection=None,
            normalize=False,
            towers=towers,
            max_length=states.max_length,
            packs=True,
            layers=config.layers,
        )

    parts = {
        "dense": made_of(("dense",), width)._replace(normalized=normalize),
        "sparse": made_of(("sparse",), vocab_size)._replace(kind="sparse"),
    }
    return made_of(PARTS, width + vocab_size)._replace(kind="hybrid", parts=parts)
