"""Transformer encoders: trunk, pooling, optional projection, optional normalisation.

c.encoder = dict(fn="jaxir.models.encoder:transformer", layers=6, dim=384, heads=6, pooling="mean")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxir.models.config import trunk_config
from jaxir.models.heads import Pooling, find_pooling
from jaxir.models.towers import SIDES, Projection, assemble
from jaxir.models.transformer import Transformer
from jaxir.types import Array, Encoder, Params


def transformer(
    vocab_size: int,
    *,
    pooling: str | Sequence[str] | Pooling = "mean",
    projection: Projection = None,
    normalize: bool = True,
    towers: str = "tied",
    **trunk: Any,
) -> Encoder:
    """A dense encoder: one vector per text from a transformer.

    Args:
      vocab_size: rows of the token embedding; the tokenizer's size or above.
      pooling: ``cls``, ``mean``, ``last``, ``max``, ``mean_sqrt``, ``weighted_mean``; several of them,
        whose vectors are concatenated; or a function (hidden [..., l, d], mask) -> [..., d].
      projection: width of a linear map after pooling, or several maps, see
        :func:`jaxir.models.towers.assemble`; shared by all layers; None = none.
      normalize: L2-normalised output; scores are then cosines.
      towers: ``tied`` (one tree of parameters) or ``separate`` ({"query": ..., "doc": ...}).
      **trunk: the fields of :class:`jaxir.models.config.TransformerConfig`.

    Parameters: {"trunk": ..., "projection": {"kernel": [dim, projection]}}.

    Raises:
      InputError: an unknown argument (with the nearest known one), sizes that do not fit.

    >>> import jax, jax.numpy as jnp
    >>> from jaxir.types import Tokens
    >>> encoder = transformer(100, layers=2, dim=32, heads=2, projection=16)
    >>> params = jax.eval_shape(encoder.init, jax.random.key(0))
    >>> params["trunk"]["layers_0"]["attention"]["query"]["kernel"].shape
    (32, 32)
    >>> text = Tokens(jnp.array([[5, 6, 7, 0]]), jnp.array([[True, True, True, False]]))
    >>> one, two = jax.eval_shape(lambda p: encoder.encode(p, text, layers=(1, 2)), params)
    >>> one.values.shape
    (1, 16)
    """
    own = ("pooling", "projection", "normalize", "towers")
    config = trunk_config("the transformer encoder", vocab_size, trunk, own)
    pool, widths = find_pooling(pooling)
    module = Transformer(config)

    @jax.jit
    def init(key: Array) -> Params:
        blank = jnp.zeros((1, 1), jnp.int32)
        return {"trunk": module.init(key, blank, blank == 0)["params"]}

    def forward(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None,
        layers: Sequence[int] | None,
        key: Array | None,
    ) -> tuple[Array, ...]:
        states = module.apply(
            {"params": params["trunk"]},
            ids,
            mask,
            packed=packed,
            layers=layers,
            train=key is not None,
            rngs=None if key is None else {"dropout": key},
        )
        return tuple(pool(state, mask) for state in states)

    return assemble(
        init,
        dict.fromkeys(SIDES, forward),
        dim=widths * config.dim,
        projection=projection,
        normalize=normalize,
        towers=towers,
        max_length=config.max_positions if config.positions == "learned" else None,
        packs=True,
        layers=config.layers,
    )
