"""The transformer trunk: token ids -> hidden states of any number of layers, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxir.checks import InputError
from jaxir.models.attention import Attention
from jaxir.models.config import TransformerConfig
from jaxir.models.layers import Dropout, Embedding, FeedForward, Norm
from jaxir.models.packing import Layout, layout
from jaxir.models.positions import (
    attention_mask,
    position_ids,
    relative_buckets,
    rotary_angles,
)


class Transformer(nn.Module):
    """Embeddings, ``config.layers`` blocks, and a final norm unless the norms come last anyway.

    Parameters (float32): token_embedding, position_embedding, type_embedding, embedding_norm,
    relative_bias, layers_0/attention/query/kernel, ..., final_norm.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "b l"],
        mask: Bool[Array, "b l"],
        *,
        packed: Int[Array, "1 t"] | None = None,
        types: Int[Array, "b l"] | None = None,
        first: Float[Array, "b d"] | None = None,
        layers: Sequence[int] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "b l d"], ...]:
        """The hidden states after the asked numbers of blocks, in the order asked.

        Padding ids are arbitrary; hidden states at padding are meaningless. Each one returned has
        passed the final norm, so layer i of a trunk is the last layer of the same trunk cut to i
        blocks; blocks beyond the highest one asked are not computed.

        Args:
          ids: token ids; a real one outside the vocabulary gives NaN.
          mask: True = real.
          packed: row * l + column of the real tokens, each once, b l in slots that are left over: all
            but attention is then computed for t tokens and not for b l. The result is the same; a
            real token that is not listed is NaN.
          types: token types (segments), 0 if not given.
          first: what the first real token of each text is replaced by, after the embeddings (not packed).
          layers: numbers of blocks, 1-based; None = all blocks, in a tuple of one.
          train: dropout on; needs ``rngs={"dropout": key}``.

        Raises:
          InputError: a layer that does not exist, texts longer than the learned positions.
        """
        c = self.config
        depths = check_layers(layers, c.layers)
        if c.positions == "learned" and ids.shape[-1] > c.max_positions:
            raise InputError(
                f"texts of {ids.shape[-1]} tokens do not fit {c.max_positions} learned positions: lower "
                "max_length, or raise max_positions before training"
            )
        places = None if packed is None else layout(packed, mask)
        positions = position_ids(mask)
        if places is None:
            x = self._embed(ids, mask, positions, types)
        else:
            positions, types = places.pack(positions), None if types is None else places.pack(types)
            x = self._embed(places.pack(ids), places.pack(mask), positions, types)
        x = Dropout(c.dropout, train)(x, places)
        if first is not None:
            begins = mask & (jnp.arange(ids.shape[-1]) == jnp.argmax(mask, axis=-1)[:, None])
            x = jnp.where(begins[..., None], first[:, None].astype(x.dtype), x)
        angles, bias = self._angles(positions), self._relative_bias(ids.shape[-1])
        masks = {w: attention_mask(mask, causal=c.causal, window=w) for w in set(c.windows)}
        block = _rematerialised(c.remat)
        states, count = {}, max(depths)
        if c.scan and len(depths) == 1 and not self.is_initializing():
            states[count] = self._scanned(count, x, masks[c.window(0)], bias, angles, places, train)
            count = 0
        # All parameters exist from the start, whatever layers the first call asks for.
        for i in range(c.layers if self.is_initializing() else count):
            window = c.window(i)
            x = block(c, first=i == 0, train=train, name=f"layers_{i}")(
                x, masks[window], bias, angles.get(bool(window)), places
            )
            states[i + 1] = x
        if c.norm_position != "post":
            final = Norm(c, name="final_norm")
            states = {depth: final(states[depth]) for depth in depths}
        if places is not None:
            forgotten = (mask & (places.slot == packed.size))[..., None]
            states = {d: jnp.where(forgotten, jnp.nan, places.spread(states[d])) for d in depths}
        return tuple(states[depth] for depth in depths)

    def _scanned(
        self,
        count: int,
        x: Array,
        mask: Array,
        bias: Array | None,
        angles: dict[bool, tuple[Array, Array]],
        places: Layout | None,
        train: bool,
    ) -> Array:
        """The first ``count`` blocks as one loop over their stacked parameters, which keep their names."""
        c = self.config
        params = [self.variables["params"][f"layers_{i}"] for i in range(count)]
        drops = train and c.dropout > 0
        keys = jax.random.split(self.make_rng("dropout"), count) if drops else None
        block = Block(c, train=train, parent=None)

        def one(x: Array, layer: tuple) -> tuple[Array, None]:
            weights, key = layer
            rngs = {"dropout": key} if drops else None
            turned = angles.get(bool(c.window(0)))
            return block.apply({"params": weights}, x, mask, bias, turned, places, rngs=rngs), None

        if c.remat != "none":
            one = jax.checkpoint(one, policy=_kept(c.remat), prevent_cse=False)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        return jax.lax.scan(one, x, (stacked, keys))[0]

    def _embed(self, ids: Array, mask: Array, positions: Array, types: Array | None) -> Array:
        c = self.config
        x = Embedding(c, c.vocab_size, name="token_embedding")(jnp.where(mask, ids, 0))
        x = x * c.embedding_scale
        if c.positions == "learned":
            rows = c.max_positions + c.position_offset
            x = x + Embedding(c, rows, name="position_embedding")(positions + c.position_offset)
        if c.token_types:
            types = jnp.zeros_like(ids) if types is None else jnp.where(mask, types, 0)
            x = x + Embedding(c, c.token_types, name="type_embedding")(types)
        if c.embedding_norm:
            x = Norm(c, name="embedding_norm")(x)
        return x

    def _angles(self, positions: Array) -> dict[bool, tuple[Array, Array]]:
        """Rotary angles of layers without (False) and with (True) a window; {} = not rotary."""
        c = self.config
        if c.positions != "rotary":
            return {}
        everywhere = rotary_angles(positions, c.head_size, c.rotary_theta, c.rotary_scaling)
        if c.rotary_theta_local is None or not any(c.windows):
            return {False: everywhere, True: everywhere}
        local = rotary_angles(positions, c.head_size, c.rotary_theta_local)
        return {False: everywhere, True: local}

    def _relative_bias(self, length: int) -> Float[Array, "1 n l l"] | None:
        c = self.config
        if not c.relative_buckets:
            return None
        buckets = relative_buckets(length, c.relative_buckets, c.relative_distance, c.causal)
        init = nn.initializers.normal(c.init_std)
        table = self.param("relative_bias", init, (c.relative_buckets, c.heads))
        return jnp.transpose(table[buckets], (2, 0, 1))[None]


class Block(nn.Module):
    """x + attention, then + feed-forward; the norms before them, after the sum, or on both sides."""

    config: TransformerConfig
    first: bool = False
    train: bool = False

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        bias: Array | None,
        angles: tuple | None,
        places: Layout | None,
    ) -> Array:
        attention = Attention(self.config, name="attention")
        x = self._add(x, lambda y: attention(y, mask, bias, angles, places), "attention", places)
        return self._add(x, FeedForward(self.config, name="ffn"), "ffn", places)

    def _add(self, x: Array, part, name: str, places: Layout | None) -> Array:
        c = self.config
        y = x
        if c.norm_position != "post" and (c.first_norm or not self.first or name != "attention"):
            y = Norm(c, name=f"{name}_norm")(y)
        y = part(y)
        if c.norm_position == "both":
            y = Norm(c, name=f"{name}_post_norm")(y)
        x = x + Dropout(c.dropout, self.train)(y, places)
        return Norm(c, name=f"{name}_norm")(x) if c.norm_position == "post" else x


def check_layers(layers: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """The layers asked, or the last one.

    Raises:
      InputError: none, or one outside 1..count.
    """
    if layers is None:
        return (count,)
    wrong = [i for i in layers if not 1 <= i <= count]
    if wrong or not layers:
        raise InputError(
            f"layers={tuple(layers)}: layers are numbers of blocks from 1 to {count}, at least one"
        )
    return tuple(layers)


def _rematerialised(policy: str) -> type[Block]:
    if policy == "none":
        return Block
    return nn.remat(Block, policy=_kept(policy))


def _kept(policy: str) -> Callable[..., bool] | None:
    return jax.checkpoint_policies.dots_with_no_batch_dims_saveable if policy == "dots" else None
