"""Model soups: one model from several that share a start, by their parameters alone.

average  Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves
         accuracy without increasing inference time", arXiv:2203.05482
slerp    Shoemake 1985, "Animating rotation with quaternion curves", leaf by leaf
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxir import trees
from jaxir.checks import InputError
from jaxir.types import Array, Params

SHOWN = 5
_STRAIGHT = 1e-3  # radians from parallel at which an arc is a line in float32


def average(models: Iterable[Params], weights: Sequence[float] | None = None) -> Params:
    """sum_i w_i x_i / sum_i w_i, leaf by leaf; equal weights unless given.

    Read one by one, so that an iterator over files holds two in memory. Computed as a running mean
    m += w_i / (w_1 + ... + w_i) (x_i - m): copies of one model give that model, bit for bit.

    Raises:
      InputError: no models, another number of weights, weights that are negative or sum to 0, or
        parameters of different names or shapes.

    >>> average([{"a": jnp.ones(1)}, {"a": jnp.zeros(1)}], [3, 1])["a"].tolist()
    [0.75]
    """
    mean, total, count = None, 0.0, 0
    for model in models:
        weight = 1.0 if weights is None else weights[count] if count < len(weights) else None
        count += 1
        if weight is None:
            continue  # counted for the error
        if weight < 0:
            raise InputError(f"weight {weight} is negative: an average weighs with 0 or more")
        total += weight
        if mean is None:
            mean, types = _wide(model), jax.tree.map(lambda x: x.dtype, model)
            continue
        check_same(mean, model)
        if weight:
            mean = _towards(mean, model, weight / total)
    if mean is None:
        raise InputError("there is no model to average")
    if weights is not None and len(weights) != count:
        raise InputError(f"{len(weights)} weights were given for {count} models")
    if not total:
        raise InputError("the weights sum to 0: give one above 0")
    return jax.tree.map(lambda x, dtype: x.astype(dtype), mean, types)


def slerp(a: Params, b: Params, t: float) -> Params:
    """Along the arc from ``a`` (t = 0) to ``b`` (t = 1): sin((1 - t) W) / sin W a + sin(t W) / sin W b.

    W is the angle between the two, of each leaf as one vector; leaves that are parallel, opposite or
    zero go along the line.

    Raises:
      InputError: t outside [0, 1], parameters of different names or shapes.

    >>> half = slerp({"x": jnp.array([1.0, 0.0])}, {"x": jnp.array([0.0, 1.0])}, 0.5)["x"]
    >>> bool(jnp.allclose(half, 0.5**0.5))
    True
    """
    if not 0 <= t <= 1:
        raise InputError(f"t is {t}: it goes from 0, the first model, to 1, the second")
    check_same(a, b)
    return _arc(a, b, t)


def check_same(a: Params, b: Params) -> None:
    """Raises unless two trees have the same paths and shapes; lists the first differences."""
    first, second = ({n: tuple(x.shape) for n, x in trees.named(tree).items()} for tree in (a, b))
    names = [n for n in sorted(first.keys() | second.keys()) if first.get(n) != second.get(n)]
    if names:
        shown = "; ".join(f"{n} is {_shape(first, n)} and {_shape(second, n)}" for n in names[:SHOWN])
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise InputError(f"the models have different parameters: {shown}{more}")


def _shape(shapes: dict[str, Any], name: str) -> str:
    return str(shapes[name]) if name in shapes else "absent"


def _wide(tree: Params) -> Params:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32)), tree)


@jax.jit
def _towards(mean: Params, model: Params, share: float | Array) -> Params:
    # share = 1 follows a first weight of 0, and must give x itself.
    of = lambda m, x: jnp.where(share == 1, x, m + share * (x - m))
    return jax.tree.map(of, mean, _wide(model))


@jax.jit
def _arc(a: Params, b: Params, t: float | Array) -> Params:
    def of(u: Array, v: Array) -> Array:
        zero = ~(jnp.any(u) & jnp.any(v))
        p, q = u / jnp.where(zero, 1, _length(u)), v / jnp.where(zero, 1, _length(v))
        angle = 2 * jnp.arctan2(_length(p - q), _length(p + q))  # exact for small angles, too
        straight = (angle < _STRAIGHT) | (angle > jnp.pi - _STRAIGHT) | zero
        safe = jnp.where(straight, 1, angle)
        line = jnp.where(t == 1, v, u + t * (v - u))
        arc = (jnp.sin((1 - t) * safe) * u + jnp.sin(t * safe) * v) / jnp.sin(safe)
        curve = jnp.where(t == 0, u, jnp.where(t == 1, v, arc))
        return jnp.where(straight, line, curve)

    mixed = jax.tree.map(of, _wide(a), _wide(b))
    return jax.tree.map(lambda x, y: y.astype(x.dtype), a, mixed)


def _length(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(x)))
