"""The transformer trunk's shape, checked when it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxir.checks import InputError, check_known, check_positive, nearest
from jaxir.models.rotary import normalise

POSITIONS = ("learned", "rotary", "none")
NORMS = ("layernorm", "rmsnorm")
NORM_POSITIONS = ("pre", "post", "both")
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu", "geglu", "geglu_tanh", "swiglu")
GATED = ("geglu", "geglu_tanh", "swiglu")
DTYPES = ("float32", "bfloat16")
REMAT = ("none", "dots", "full")
ATTENTION = ("auto", "xla", "cudnn")


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """One trunk for encoders and decoders: BERT, RoBERTa, MPNet, ModernBERT, T5, Llama, Qwen, Gemma.

    The defaults are a small pre-norm encoder with rotary positions.

    Raises:
      InputError: sizes that do not fit together, an unknown name; the sentence says what to change.
    """

    vocab_size: int  # rows of the token embedding
    layers: int = 4  # number of blocks
    dim: int = 256  # width of the hidden states
    heads: int = 4  # query heads
    kv_heads: int | None = None  # key/value heads shared by groups of query heads; None = heads
    head_dim: int | None = None  # width of a head; None = dim / heads
    ff_dim: int | None = None  # inner width of the feed-forward part; None = 4 dim, gated 8/3 dim
    positions: str = "rotary"  # learned, rotary or none
    max_positions: int = 512  # longest text with learned positions; others have no limit
    position_offset: int = 0  # unused rows before the first learned position (RoBERTa, MPNet: 2)
    rotary_theta: float = 10_000.0  # base of the rotary wavelengths
    rotary_theta_local: float | None = None  # the same in layers with a window; None = rotary_theta
    # Longer texts than in pretraining: {"rope_type": "linear", "factor": 8.0}, llama3 or yarn, with
    # transformers' field names; layers with a window of their own rotary_theta_local are not scaled.
    rotary_scaling: Mapping[str, Any] | Iterable[Any] | None = None
    relative_buckets: int = 0  # T5's relative position bias, shared by all layers; 0 = none
    relative_distance: int = 128  # distances beyond this one share the last relative bucket
    windows: Sequence[int] = (0,)  # farthest visible distance by layer, repeated; 0 = everything
    causal: bool = False  # a token sees only itself and what is before it
    norm: str = "layernorm"  # layernorm or rmsnorm
    norm_position: str = "pre"  # pre, post (BERT), both (Gemma 3: before and after each part)
    norm_bias: bool | None = None  # a bias in layernorms; None = as bias
    norm_offset: float = 0.0  # added to a norm's scale (Gemma: 1, its scales start at 0)
    eps: float = 1e-6  # added to the variance in norms
    first_norm: bool = True  # the norm before the first attention (ModernBERT has none)
    embedding_norm: bool = True  # a norm on the sum of the embeddings
    embedding_scale: float = 1.0  # multiplies the token embeddings (Gemma: sqrt(dim))
    token_types: int = 0  # rows of the token type (segment) embedding; 0 = none
    qk_norm: bool = False  # an RMSNorm on each head's queries and keys (Qwen3, Gemma 3)
    attention_scale: float | None = None  # multiplies q.k; None = 1 / sqrt(head_dim) (T5: 1)
    attention_softcap: float | None = None  # c: logits become c tanh(logits / c) (Gemma 2: 50)
    activation: str = "geglu"  # gelu is the exact (erf) form, gelu_tanh the approximation
    bias: bool = False  # biases in the linear maps
    qkv_bias: bool | None = None  # biases of query, key and value; None = as bias (Qwen2: True)
    ff_bias: bool | None = None  # biases of the feed-forward part; None = as bias
    dropout: float = 0.0  # on embeddings and what each part adds, not on attention; steps of 1/256
    init_std: float = 0.02  # spread of the embeddings at the start; linear maps: 1 / sqrt(inputs)
    dtype: str = "float32"  # of the computation; parameters, norms and softmax are float32
    remat: str = "none"  # kept for the backward pass: everything, dots (weight products), block inputs
    scan: bool = False  # a loop over the blocks, of which one is compiled: minutes less with many, on TPU
    attention: str = "auto"  # auto: cuDNN where it can run, XLA elsewhere; or xla, cudnn

    def __post_init__(self) -> None:
        # Configs read back from JSON bring lists; a linen module needs a hashable config.
        object.__setattr__(self, "windows", tuple(self.windows))
        object.__setattr__(self, "rotary_scaling", normalise(self.rotary_scaling))
        for name in ("vocab_size", "layers", "dim", "heads", "max_positions"):
            check_positive(name, getattr(self, name))
        for name in ("kv_heads", "head_dim", "ff_dim", "rotary_theta_local", "attention_softcap"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        for name, known in (
            ("positions", POSITIONS),
            ("norm", NORMS),
            ("norm_position", NORM_POSITIONS),
            ("activation", ACTIVATIONS),
            ("dtype", DTYPES),
            ("remat", REMAT),
            ("attention", ATTENTION),
        ):
            check_known(name, getattr(self, name), known)
        self._check_heads()
        if not 0 <= self.dropout <= 0.99:
            raise InputError(f"dropout is {self.dropout}, it must be from 0 to 0.99")
        if self.attention == "cudnn" and self.dtype == "float32":
            raise InputError(
                "attention='cudnn' computes in bfloat16: set dtype='bfloat16', or attention='auto'"
            )
        if self.attention == "cudnn" and self.attention_softcap is not None:
            raise InputError("attention='cudnn' has no attention_softcap: use attention='auto' or 'xla'")
        if self.rotary_scaling and self.positions != "rotary":
            raise InputError(f"rotary_scaling needs positions='rotary', they are {self.positions!r}")
        if not self.windows or min(self.windows) < 0:
            raise InputError(
                f"windows is {self.windows}; give one distance per layer of the repeated pattern, "
                "0 for layers that see everything"
            )
        if self.scan and (len(set(self.windows)) > 1 or not self.first_norm):
            raise InputError("scan=True is for blocks that are all the same: one window, and first_norm=True")
        if self.relative_buckets and (self.relative_buckets < 4 or self.relative_buckets % 4):
            raise InputError(f"relative_buckets is {self.relative_buckets}, it must be 0 or a multiple of 4")
        if self.relative_buckets and self.relative_distance <= self.relative_buckets // 2:
            raise InputError(
                f"relative_distance is {self.relative_distance}, it must be above half of "
                f"relative_buckets ({self.relative_buckets})"
            )

    def _check_heads(self) -> None:
        if self.head_dim is None and self.dim % self.heads:
            fits = [h for h in range(1, self.dim + 1) if self.dim % h == 0]
            near = min(fits, key=lambda h: abs(h - self.heads))
            raise InputError(
                f"dim {self.dim} is not divisible by {self.heads} heads: use {near} heads, or give head_dim"
            )
        if self.heads % self.kv_size:
            raise InputError(
                f"{self.heads} heads cannot share {self.kv_heads} kv_heads: heads must be a "
                "multiple of kv_heads"
            )
        if self.positions == "rotary" and self.head_size % 2:
            raise InputError(
                f"rotary positions need an even head_dim, it is {self.head_size}: change heads or "
                "head_dim, or use learned positions"
            )

    @property
    def head_size(self) -> int:
        """The width of one head."""
        return self.head_dim or self.dim // self.heads

    @property
    def kv_size(self) -> int:
        """The number of key and value heads."""
        return self.kv_heads or self.heads

    @property
    def ff_size(self) -> int:
        """The inner width of the feed-forward part; by default equal weights gated or not."""
        if self.ff_dim is not None:
            return self.ff_dim
        if self.activation not in GATED:
            return 4 * self.dim
        return -(-8 * self.dim // (3 * 32)) * 32  # a multiple of 32 suits every device

    def window(self, layer: int) -> int:
        """The farthest distance that block number ``layer`` (from 0) sees; 0 = everything."""
        return self.windows[layer % len(self.windows)]


def trunk_config(
    encoder: str, vocab_size: int, trunk: Mapping[str, Any], own: Iterable[str]
) -> TransformerConfig:
    """The config of an encoder's trunk from what is left of the encoder's arguments.

    Raises:
      InputError: an argument that neither the trunk nor the encoder (``own``) has, with the nearest one.
    """
    known = [f.name for f in dataclasses.fields(TransformerConfig) if f.name != "vocab_size"] + [*own]
    for name in trunk:
        if name not in known:
            raise InputError(
                f"{encoder} takes no {name!r}.{nearest(name, known)} It takes: {', '.join(known)}"
            )
    return TransformerConfig(vocab_size=vocab_size, **trunk)
