"""Static encoders: a weighted mean of token embeddings, no attention, milliseconds on a CPU.

c.encoder = dict(fn="jaxir.models.static:static", dim=512)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxir.checks import InputError, check_known, check_positive
from jaxir.models.bag import embedding_bag
from jaxir.models.towers import SIDES, assemble
from jaxir.types import Array, Encoder, Params

INITS = ("normal", "uniform")


def static(
    vocab_size: int,
    *,
    dim: int = 512,
    projection: int | None = None,
    normalize: bool = True,
    token_weights: bool = True,
    towers: str = "tied",
    dropout: float | Mapping[str, float] = 0.0,
    init: str = "normal",
    init_std: float | None = None,
) -> Encoder:
    """A bag of token embeddings: x = sum_l w(t_l) E(t_l) / sum_l w(t_l) over the real tokens.

    w(t) = exp(the token's learned logit) starts at 1 and learns what idf does by hand: which tokens
    matter. A text without tokens is the zero vector.

    Args:
      vocab_size: rows of the table; the tokenizer's size or above.
      dim: width of the embeddings.
      projection: width of a linear map after the mean; None = none.
      normalize: L2-normalised output; scores are then cosines.
      token_weights: False = a plain mean.
      towers: ``tied`` (one tree of parameters) or ``separate`` ({"query": ..., "doc": ...}).
      dropout: probability with which a whole token is left out while training; one number, or
        ``dict(query=0.0, doc=0.15)``.
      init: ``normal`` or ``uniform`` embeddings.
      init_std: their standard deviation; None = 1 / sqrt(dim).

    Parameters: {"embedding": [v, dim], "token_logit": [v], "projection": {"kernel": ...}}.

    Raises:
      InputError: a size not above 0, dropout outside [0, 1), an unknown name.

    >>> import jax, jax.numpy as jnp
    >>> from jaxir.types import Tokens
    >>> encoder = static(100, dim=8)
    >>> params = encoder.init(jax.random.key(0))
    >>> text = Tokens(jnp.array([[5, 6, 0]]), jnp.array([[True, True, False]]))
    >>> encoder.encode(params, text).values.shape
    (1, 8)
    """
    check_positive("vocab_size", vocab_size)
    check_positive("dim", dim)
    check_known("init", init, INITS)
    rates = _rates(dropout)
    std = dim**-0.5 if init_std is None else init_std
    check_positive("init_std", std)

    @jax.jit
    def init_tower(key: Array) -> Params:
        shape = (vocab_size, dim)
        if init == "normal":
            table = std * jax.random.normal(key, shape)
        else:
            table = 3**0.5 * std * jax.random.uniform(key, shape, minval=-1.0)
        params = {"embedding": table}
        if token_weights:
            params["token_logit"] = jnp.zeros(vocab_size)
        return params

    def forward(
        params: Params,
        ids: Array,
        mask: Array,
        *,
        layers: Sequence[int] | None,
        key: Array | None,
        rate: float,
    ) -> tuple[Array, ...]:
        if layers is not None:
            raise InputError(f"layers={tuple(layers)}: a static encoder has no layers, use None")
        if key is not None and rate:
            mask = mask & jax.random.bernoulli(key, 1 - rate, mask.shape)
        table = params["embedding"]
        if token_weights:
            weights = jnp.exp(params["token_logit"])
        else:
            weights = jnp.ones(table.shape[0], table.dtype)
        total = embedding_bag(table, weights, ids, mask)
        per_token = jnp.where(mask, weights[jnp.where(mask, ids, 0)], 0)
        mass = jnp.sum(per_token, axis=-1, keepdims=True)
        return (total / jnp.where(mass > 0, mass, 1),)

    by_rate = {rate: functools.partial(forward, rate=rate) for rate in rates.values()}
    return assemble(
        init_tower,
        {side: by_rate[rates[side]] for side in SIDES},
        dim=dim,
        projection=projection,
        normalize=normalize,
        towers=towers,
    )


def _rates(dropout: float | Mapping[str, float]) -> dict[str, float]:
    if not isinstance(dropout, Mapping):
        dropout = dict.fromkeys(SIDES, dropout)
    for side, rate in dropout.items():
        check_known("side in dropout", side, SIDES)
        if not 0 <= rate < 1:
            raise InputError(f"dropout is {rate}, it must be at least 0 and below 1")
    return {**dict.fromkeys(SIDES, 0.0), **dropout}
