"""A transformer trunk as the encoders with heads use it: parameters, and hidden states by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxir.models.config import TransformerConfig
from jaxir.models.transformer import Transformer
from jaxir.types import Array, Params


class Trunk(NamedTuple):
    """``init(key)`` gives the trunk's parameters, ``trunk(params, ids, mask, ...)`` its hidden states."""

    config: TransformerConfig

    def init(self, key: Array) -> Params:
        blank = jnp.zeros((1, 1), jnp.int32)
        return jax.jit(Transformer(self.config).init)(key, blank, blank == 0)["params"]

    def __call__(
        self,
        params: Params,
        ids: Array,
        mask: Array,
        *,
        packed: Array | None = None,
        layers: Sequence[int] | None = None,
        key: Array | None = None,
    ) -> tuple[Array, ...]:
        """The states [n, l, d] of the layers asked; 0 and not NaN at padding. A key means dropout."""
        states = Transformer(self.config).apply(
            {"params": params},
            ids,
            mask,
            packed=packed,
            layers=layers,
            train=key is not None,
            rngs=None if key is None else {"dropout": key},
        )
        return tuple(jnp.where(mask[..., None], x, 0) for x in states)

    @property
    def max_length(self) -> int | None:
        """The longest text in tokens; None = any."""
        return self.config.max_positions if self.config.positions == "learned" else None
