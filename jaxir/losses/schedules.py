"""Weights that grow with training: functions of the optimiser step."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from jaxir.checks import InputError
from jaxir.types import Array

Schedule = Callable[[Array | int], Array]


def quadratic_ramp(peak: float, steps: int) -> Schedule:
    """peak * min(1, (t / steps)^2), the ramp of the FLOPS regulariser (arXiv:2004.05665).

    ``t`` counts optimiser steps, not micro-batches. ``steps=0`` is the full weight from the start.

    >>> ramp = quadratic_ramp(peak=1.0, steps=10)
    >>> float(ramp(0)), float(ramp(5)), float(ramp(10)), float(ramp(99))
    (0.0, 0.25, 1.0, 1.0)
    """
    return _ramp(peak, steps, 2)


def linear_ramp(peak: float, steps: int) -> Schedule:
    """peak * min(1, t / steps).

    >>> float(linear_ramp(peak=2.0, steps=10)(5))
    1.0
    """
    return _ramp(peak, steps, 1)


def _ramp(peak: float, steps: int, power: int) -> Schedule:
    if steps < 0:
        raise InputError(f"a ramp of {steps} steps: the number must be 0 or more")
    if steps == 0:
        return lambda t: jnp.asarray(peak, jnp.float32)
    return lambda t: peak * jnp.minimum(1.0, jnp.asarray(t, jnp.float32) / steps) ** power
