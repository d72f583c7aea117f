"""Matryoshka representations: an objective at several widths of the same representations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxir.checks import InputError
from jaxir.objectives.nesting import Size, apply_to, check_sizes, small, width, widths
from jaxir.objectives.objective import Objective
from jaxir.types import Array, Encoder


def matryoshka(
    objective: Objective,
    *,
    encoder: Encoder,
    dims: Any,
    weights: Any = None,
) -> Objective:
    r"""L = sum_m c_m L(first d_m dimensions): one model that can be cut to any of its widths.

    Prefixes of a normalised encoder are normalised again. Of one vector per token the dimensions of each
    are cut, of a sparse representation the d_m largest terms are kept. Every term of the objective, a
    regulariser too, is computed at each size; they share what the objective learns (a temperature), and
    each size has a memory of its own. The sum is not divided by the number of sizes.

    Args:
      encoder: whose representations they are; its kind, width and whether it is normalised.
      dims: the widths, a sequence of whole numbers, ascending; the encoder's own only if it is listed.
      weights: c_m, a sequence of as many numbers; None = 1 each.

    Raises:
      InputError: widths that are unsorted, repeated or beyond the encoder's; other than one weight for each.

    References: Kusupati et al. 2022 (arXiv:2205.13147).
    """
    return nested(objective, encoder, widths(dims), weights)


def nested(objective: Objective, encoder: Encoder, sizes: Sequence[Size], weights: Any = None) -> Objective:
    """The weighted sum of an objective over sizes, all of which name their layers or none does."""
    check_sizes(objective, encoder, sizes)
    factors = check_weights(weights, len(sizes))
    layers = tuple(sorted({s.layer for s in sizes if s.layer is not None}))

    def wrap(inner: Objective) -> Objective:
        def memory(dim: int) -> dict[str, Any]:
            del dim
            return {str(s): m for s in sizes if (m := inner.memory(width(encoder, s.dims)))}

        def apply(params, reps, batch, *, memory=None, **how):
            loss, metrics, kept = jnp.zeros((), jnp.float32), {}, {}
            for size, factor in zip(sizes, factors):
                seen = small(reps if not layers else reps[layers.index(size.layer)], size.dims, encoder)
                value, more, new = apply_to(inner, size, params, seen, batch, memory, **how)
                loss = loss + factor * value
                metrics |= more
                kept |= {k: m for k, m in new.items() if m}
            # The largest size under the plain names, as if it was trained alone.
            return loss, metrics | plain(metrics, sizes[-1]), kept

        return dataclasses.replace(
            inner,
            apply=apply,
            memory=memory,
            layers=layers or None,
            parts=inner.parts and tuple(map(wrap, inner.parts)),
        )

    return wrap(objective)


def plain(metrics: dict[str, Array], size: Size) -> dict[str, Array]:
    """The metrics of one size, without its name."""
    start = f"{size}/"
    return {k.removeprefix(start): v for k, v in metrics.items() if k.startswith(start)}


def check_weights(weights: Any, count: int) -> tuple[float, ...]:
    """One weight for each size, 1 where none are given.

    Raises:
      InputError: another number of them, or one below 0.
    """
    factors = (1.0,) * count if weights is None else weights
    if not isinstance(factors, Sequence) or len(factors) != count:
        raise InputError(f"weights is {factors!r} for {count} sizes: give one number for each, or none")
    if any(not w >= 0 for w in factors):
        raise InputError(f"weights of sizes are {tuple(factors)}, they must be at least 0")
    return tuple(factors)
