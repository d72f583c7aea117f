"""The masked-language-model head: hidden states -> one logit per vocabulary entry."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxir.models.config import TransformerConfig
from jaxir.models.layers import ACTIVATIONS, Norm, dense


class MlmHead(nn.Module):
    """logits = norm(activation(transform h)) E^T + bias, with E the trunk's token embedding.

    Parameters: transform, norm, bias [v] (float32). ``config`` is the trunk's; BERT, DistilBERT,
    RoBERTa and MPNet have all three, ModernBERT no bias in transform and norm.
    """

    config: TransformerConfig
    activation: str = "gelu"

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "*batch d"], table: Float[Array, "v d"]
    ) -> Float[Array, "*batch v"]:
        """Logits in float32. ``table`` is ``params["token_embedding"]["embedding"]`` of the trunk."""
        c = self.config
        x = ACTIVATIONS[self.activation](dense(c, hidden, c.dim, c.bias, "transform"))
        x = Norm(c, name="norm")(x)
        bias = self.param("bias", nn.initializers.zeros, (table.shape[0],))
        logits = jnp.einsum("...d,vd->...v", x, table.astype(x.dtype), preferred_element_type=jnp.float32)
        return logits + bias
