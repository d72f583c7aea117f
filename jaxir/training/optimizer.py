"""An optax optimiser from a config: schedule, clipping, and multipliers by path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import optax

from jaxir import trees
from jaxir.checks import check_known, check_positive
from jaxir.config import Allow, accepts, bind

DECAYS = ("cosine", "linear", "constant")
NO_DECAY = r"(bias|scale|norm|embedding|token_logit)"
"""Leaves that weight decay leaves alone, by path."""


def warmup_schedule(
    learning_rate: float, steps: int, *, warmup: float = 0.1, decay: str = "cosine", final: float = 0.0
) -> optax.Schedule:
    """Linear warm-up from 0, then decay to ``final`` x learning_rate at the last step.

    Args:
      learning_rate: the peak.
      steps: length of the run in optimiser steps.
      warmup: steps if >= 1, share of the run if below 1.
      decay: ``cosine``, ``linear`` or ``constant``.
    """
    check_positive("learning_rate", learning_rate)
    check_known("decay", decay, DECAYS)
    first = round(warmup * steps) if warmup < 1 else int(warmup)
    rest = max(steps - first, 1)
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, rest, alpha=final),
        "linear": lambda: optax.linear_schedule(learning_rate, learning_rate * final, rest),
        "constant": lambda: optax.constant_schedule(learning_rate),
    }[decay]()
    if not first:
        return after
    # The warm-up ends one above its count: with first=10, step 0 already moves (by a tenth of the peak).
    ramp = optax.linear_schedule(learning_rate / first, learning_rate, max(first - 1, 1))
    return optax.join_schedules([ramp, after], [first])


def make_optimizer(
    schedule: optax.Schedule,
    params: Any,
    *,
    optimizer: Mapping[str, Any] | str = "optax:adamw",
    clip_norm: float | None = 1.0,
    lr_multipliers: Sequence[tuple[str, float]] = (),
    allow: Allow = None,
) -> optax.GradientTransformation:
    """The transformation ``make_train_step`` takes.

    Args:
      schedule: learning rate by optimiser step.
      params: the trained parameters, or their shapes: paths are matched against it.
      optimizer: ``dict(fn="optax:adamw", weight_decay=0.01)``. Where it takes a ``mask``, weight decay
        spares biases, norms and embeddings (``NO_DECAY``) unless the config gives a mask.
      clip_norm: global norm above which the gradient is scaled down.
      lr_multipliers: (path regex, factor); the first match wins.

    Raises:
      InputError: a regex that matches no leaf: a typing error would otherwise go unnoticed.
    """
    trees.check_patterns([pattern for pattern, _ in lr_multipliers], params)
    fn = bind(optimizer, allow=allow)
    options = {"learning_rate": schedule}
    if accepts(fn, "mask") and "mask" not in getattr(fn, "keywords", {}):
        options["mask"] = lambda tree: trees.map_named(lambda name, _: not re.search(NO_DECAY, name), tree)
    steps = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    steps.append(fn(**options))
    if lr_multipliers:
        steps.append(_scale_by_path(lr_multipliers))
    return optax.chain(*steps)


def _scale_by_path(multipliers: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Scales the finished update, which scales the learning rate whatever the optimiser."""

    def factor(name: str) -> float:
        return next((m for pattern, m in multipliers if re.search(pattern, name)), 1.0)

    def update(updates, state, params=None):
        del params
        return trees.map_named(lambda name, u: u * jnp.asarray(factor(name), u.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
