"""The head over the vocabulary: hidden states -> one logit per vocabulary entry."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxir.models.config import TransformerConfig
from jaxir.models.layers import ACTIVATIONS, Norm, dense


class MlmHead(nn.Module):
    """logits = norm(activation(transform h)) E^T + bias, with E the trunk's token embedding.

    Parameters (float32): transform, norm, bias [v], and where E is not the embedding decoder/kernel
    [d, v]. ``config`` is the trunk's. BERT, DistilBERT, RoBERTa and MPNet have transform, norm and
    bias, ModernBERT no bias in transform and norm; decoders have logits = h E^T or h K alone.
    """

    config: TransformerConfig
    activation: str = "gelu"
    transform: bool = True  # a linear map, an activation and a norm before the product
    bias: bool = True
    tied: bool = True  # False: a matrix of its own
    softcap: float | None = None  # c: logits become c tanh(logits / c) (Gemma 2)
    bias_init: float = 0.0  # where the bias starts; below 0 a new sparse encoder starts sparse

    @nn.compact
    def __call__(
        self,
        hidden: Float[Array, "*batch d"],
        table: Float[Array, "v d"],
        product: Callable[..., Array] | None = None,
    ) -> Array:
        """Logits [*batch, v] in float32; ``table``: the trunk's ``params["token_embedding"]["embedding"]``.

        With ``product`` the result is that of product(x, E [v, d], bias [v] or None), where x is what comes
        before the product with E: for what need not make all logits. It sees logits before :meth:`capped`.
        """
        c, x = self.config, hidden
        if self.transform:
            x = ACTIVATIONS[self.activation](dense(c, x, c.dim, c.bias, "transform"))
            x = Norm(c, name="norm")(x)
        matrix = table if self.tied else Kernel(table.shape, name="decoder")()
        bias = (
            self.param("bias", nn.initializers.constant(self.bias_init), (table.shape[0],))
            if self.bias
            else None
        )
        if product is not None:
            return product(x, matrix, bias)
        logits = jnp.einsum("...d,vd->...v", x, matrix.astype(x.dtype), preferred_element_type=jnp.float32)
        return self.capped(logits if bias is None else logits + bias)

    def capped(self, logits: Array) -> Array:
        """The logits after the soft cap, an increasing function; themselves where there is none."""
        return logits if self.softcap is None else self.softcap * jnp.tanh(logits / self.softcap)


class Kernel(nn.Module):
    """A matrix [v, d], kept as a linear map's kernel [d, v]."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self) -> Float[Array, "v d"]:
        return self.param("kernel", nn.initializers.lecun_normal(), self.shape[::-1]).T
