"""LoRA: a pretrained encoder learns through a low-rank addition to some of its matrices.

  W' = W + alpha / rank * A B,    W [n, m] frozen, A [n, rank] and B [rank, m] learned

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.

It is a wrapper on parameters: no module knows of it, the sum is made before each call of the encoder. The
gradient of W' exists for as long as A's and B's are computed from it; nothing of W's is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxir import trees
from jaxir.checks import InputError, check_positive
from jaxir.models.towers import SIDES
from jaxir.types import Array, Encoder, Params, Reps, Side, Tokens

BASE, ADAPTERS = "base", "lora"
TARGETS = "attention/(query|value)/kernel"
_KEY = 0x10A  # apart from the numbers that encoders fold into their key


def lora(
    encoder: Encoder, *, rank: int, alpha: float = 16.0, targets: str = TARGETS, dropout: float = 0.0
) -> Encoder:
    """The encoder with adapters on the matrices whose path ``targets`` matches.

    Parameters: ``{"base": the encoder's own, "lora": {..., "kernel": {"a": [n, rank], "b": [rank, m]}}}``,
    adapters under the paths of their matrices. A starts Gaussian with variance 1 / n and B zero, so that
    the first step begins at the base model. Train with ``frozen=(frozen(),)``.

    Args:
      rank: of the addition; its parameters are rank * (n + m) instead of n * m.
      alpha: the addition is multiplied by alpha / rank.
      targets: a regex of paths in the encoder's parameters. An embedding table is a matrix, too.
      dropout: share of the matrices' inputs that their adapters do not see while training (``key``
        given), the rest scaled up: rows of A. The paper drops inputs for each token separately; here
        one draw per adapter holds for all texts of a call, because the addition is made to the matrix.

    Raises:
      InputError: a rank, alpha or dropout out of range; targets that match nothing or a leaf that is
        no matrix.

    >>> from jaxir.models.static import static
    >>> small = lora(static(100, dim=8, projection=4), rank=2, targets="projection")
    >>> params = small.init(jax.random.key(0))
    >>> {name: leaf.shape for name, leaf in trees.named(params["lora"]).items()}
    {'projection/kernel/a': (8, 2), 'projection/kernel/b': (2, 4)}
    """
    if rank < 1:
        raise InputError(f"rank is {rank}, it must be at least 1")
    check_positive("alpha", alpha)
    if not 0 <= dropout < 1:
        raise InputError(f"dropout of the adapters is {dropout}, it must be at least 0 and below 1")

    def init(key: Array) -> Params:
        base = encoder.init(key)
        return {BASE: base, ADAPTERS: _adapters(base, jax.random.fold_in(key, _KEY), rank, targets)}

    def encode(
        params: Params,
        tokens: Tokens,
        *,
        side: Side = "query",
        layers: Sequence[int] | None = None,
        key: Array | None = None,
    ) -> Reps | tuple[Reps, ...]:
        adapted = None
        if key is not None and dropout:
            adapted = jax.random.fold_in(jax.random.fold_in(key, _KEY), SIDES.index(side))
        whole = merge(params, alpha=alpha, dropout=dropout, key=adapted)
        return encoder.encode(whole, tokens, side=side, layers=layers, key=key)

    table = encoder.table and (lambda params: encoder.table(params[BASE]))  # a vector, which has no adapter
    parts = encoder.parts and {
        name: lora(part, rank=rank, alpha=alpha, targets=targets, dropout=dropout)
        for name, part in encoder.parts.items()
    }
    return encoder._replace(init=init, encode=encode, table=table, parts=parts)


def frozen(trained: Sequence[str] = ()) -> str:
    """The path regex of what stays as it is: the base, except paths that match one of ``trained``.

    >>> import re
    >>> bool(re.search(frozen(), "encoder/base/trunk/final_norm/scale"))
    True
    >>> bool(re.search(frozen(["norm/scale"]), "encoder/base/trunk/final_norm/scale"))
    False
    """
    spared = f"(?!.*(?:{'|'.join(trained)}))" if trained else ""
    return f"^(?:encoder/)?{BASE}/{spared}"


# Outside jit the additions would be dispatched one by one.
@functools.partial(jax.jit, static_argnames=("alpha", "dropout"))
def merge(params: Params, *, alpha: float, dropout: float = 0.0, key: Array | None = None) -> Params:
    """The encoder's own parameters with the adapters added in: encoding with them is the same.

    Args:
      params: of an encoder that :func:`lora` made, with its ``alpha``.
      key: drops rows of A by ``dropout``, as in training.

    Raises:
      InputError: parameters without "base" and "lora".
    """
    if not isinstance(params, dict) or {BASE, ADAPTERS} - params.keys():
        raise InputError(f"these are no parameters of a LoRA encoder: it has {BASE!r} and {ADAPTERS!r}")
    adapters = trees.named(params[ADAPTERS])
    count = -1

    def of(name: str, w: Array) -> Array:
        nonlocal count
        a, b = adapters.get(f"{name}/a"), adapters.get(f"{name}/b")
        if a is None:
            return w
        count += 1
        if key is not None and dropout:
            kept = jax.random.bernoulli(jax.random.fold_in(key, count), 1 - dropout, (len(a), 1))
            a = jnp.where(kept, a / (1 - dropout), 0)
        addition = alpha / a.shape[1] * jnp.matmul(a, b, precision="highest")
        return w + addition  # in float32 where W is of a shorter type

    return trees.map_named(of, params[BASE])


def _adapters(base: Params, key: Array, rank: int, targets: str) -> Params:
    trees.check_patterns([targets], base)
    matched = trees.matches([targets])
    out: Params = {}
    count = 0
    for name, w in trees.named(base).items():
        if not matched(name):
            continue
        if w.ndim != 2:
            raise InputError(
                f"lora targets {targets!r} match {name} of shape {w.shape}, which is no matrix: "
                "narrow the regex, for example by /kernel"
            )
        if rank > min(w.shape):
            raise InputError(f"lora rank {rank} is above the sizes of {name}, {w.shape}: lower it")
        a = jax.random.normal(jax.random.fold_in(key, count), (w.shape[0], rank)) * w.shape[0] ** -0.5
        count += 1
        *parents, last = name.split("/")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = {"a": a, "b": jnp.zeros((rank, w.shape[1]))}
    return out
