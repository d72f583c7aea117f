"""The head over the vocabulary: hidden states -> one logit per vocabulary entry."""

from __future__ import annotations

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

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "*batch d"], table: Float[Array, "v d"]
    ) -> Float[Array, "*batch v"]:
        """Logits in float32. ``table`` is ``params["token_embedding"]["embedding"]`` of the trunk."""
        c, x = self.config, hidden
        if self.transform:
            x = ACTIVATIONS[self.activation](dense(c, x, c.dim, c.bias, "transform"))
            x = Norm(c, name="norm")(x)
        if self.tied:
            logits = jnp.einsum("...d,vd->...v", x, table.astype(x.dtype), preferred_element_type=jnp.float32)
        else:
            logits = dense(c, x, table.shape[0], False, "decoder").astype(jnp.float32)
        if self.bias:
            logits = logits + self.param("bias", nn.initializers.zeros, (table.shape[0],))
        return logits if self.softcap is None else self.softcap * jnp.tanh(logits / self.softcap)
