"""Rotary wavelengths, and how they are stretched for texts longer than those of pretraining.

A scaling is what transformers calls ``rope_parameters``, a mapping with ``rope_type`` and the fields
of that type. It is kept as a sorted tuple of pairs, which is hashable and survives JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxir.checks import InputError, check_known, check_positive

Scaling = tuple[tuple[str, Any], ...]

REQUIRED = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
YARN = {
    "attention_factor": None,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": None,
    "mscale_all_dim": None,
    "truncate": True,
}
"""Yarn's optional fields and what they are when absent."""


def normalise(scaling: Mapping[str, Any] | Iterable[Any] | None) -> Scaling | None:
    """A mapping, or its pairs as JSON gives them back, as a sorted tuple of pairs.

    None, an empty mapping and the type ``default`` mean no scaling. Fields that are None are absent.

    >>> normalise({"rope_type": "linear", "factor": 8.0})
    (('factor', 8.0), ('rope_type', 'linear'))

    Raises:
      InputError: an unknown type or field, a missing field, a value that is no positive number.
    """
    try:
        fields = {k: v for k, v in dict(scaling or {}).items() if v is not None}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"rotary_scaling is {scaling!r}, expected a mapping such as "
            "{'rope_type': 'linear', 'factor': 8.0}"
        ) from error
    if fields in ({}, {"rope_type": "default"}):
        return None
    kind = fields.pop("rope_type", None)
    if not isinstance(kind, str):
        raise InputError(f"rotary_scaling {fields} has no 'rope_type'; known: {', '.join(sorted(REQUIRED))}")
    check_known("rope_type of rotary_scaling", kind, REQUIRED)
    known = (*REQUIRED[kind], *(YARN if kind == "yarn" else ()))
    for name, value in fields.items():
        check_known(f"field of {kind} rotary_scaling", name, known)
        if name == "truncate":
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise InputError(f"{name} of rotary_scaling is {value!r}, it must be a number")
        check_positive(f"{name} of rotary_scaling", value)
    missing = [name for name in REQUIRED[kind] if name not in fields]
    if missing:
        raise InputError(f"{kind} rotary_scaling lacks {', '.join(missing)}: it has {fields}")
    if kind == "llama3" and fields["high_freq_factor"] <= fields["low_freq_factor"]:
        raise InputError(
            f"high_freq_factor of rotary_scaling is {fields['high_freq_factor']}, it must be above "
            f"low_freq_factor ({fields['low_freq_factor']})"
        )
    return tuple(sorted({"rope_type": kind, **fields}.items()))


def frequencies(
    head_dim: int, theta: float, scaling: Scaling | None = None
) -> tuple[Float[np.ndarray, " h"], float]:
    """Angles per position of the head's h = head_dim / 2 pairs (float32), and a factor of (cos, sin).

    Unscaled, pair i turns by f_i = theta^(-2i / head_dim). With L the ``original_max_position_embeddings``:

    * ``linear``: f_i / factor.
    * ``llama3``: pairs that turn less than ``low_freq_factor`` times over L positions get f_i / factor,
      those that turn more than ``high_freq_factor`` times stay, in between linearly from one to the
      other (Llama 3.1's release).
    * ``yarn``: the same with a ramp over i, from the pair that turns ``beta_fast`` times over L to the
      one that turns ``beta_slow`` times (ends rounded outwards if ``truncate``); and cos and sin grow
      by ``attention_factor``, or 0.1 ln(factor) + 1 (Peng et al. 2023, arXiv:2309.00071).
    """
    pairs = np.arange(0, head_dim, 2)
    plain = float(theta) ** (-pairs / head_dim)
    fields = dict(scaling or ())
    kind, factor = fields.get("rope_type"), fields.get("factor", 1.0)
    stretched, magnitude = plain / factor, 1.0
    if kind is None or kind == "linear":
        kept = np.zeros_like(plain)
    elif kind == "llama3":
        turns = fields["original_max_position_embeddings"] * plain / (2 * math.pi)
        low, high = fields["low_freq_factor"], fields["high_freq_factor"]
        kept = np.clip((turns - low) / (high - low), 0, 1)
    else:
        fields = {**YARN, **fields}
        kept = 1 - _yarn_ramp(head_dim, theta, fields)
        magnitude = _yarn_magnitude(fields)
    return (stretched * (1 - kept) + plain * kept).astype(np.float32), magnitude


def _yarn_ramp(head_dim: int, theta: float, fields: Mapping[str, Any]) -> np.ndarray:
    def pair_that_turns(times: float) -> float:
        length = fields["original_max_position_embeddings"] / (2 * math.pi * times)
        return head_dim * math.log(length) / (2 * math.log(theta))

    low, high = pair_that_turns(fields["beta_fast"]), pair_that_turns(fields["beta_slow"])
    if fields["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low or 0.001  # a step, where both ends fall together
    return np.clip((np.arange(head_dim // 2) - low) / width, 0, 1)


def _yarn_magnitude(fields: Mapping[str, Any]) -> float:
    if fields["attention_factor"] is not None:
        return float(fields["attention_factor"])

    def grown(scale: float) -> float:
        return 0.1 * scale * math.log(fields["factor"]) + 1 if fields["factor"] > 1 else 1.0

    if fields["mscale"] and fields["mscale_all_dim"]:
        return grown(fields["mscale"]) / grown(fields["mscale_all_dim"])
    return grown(1)
