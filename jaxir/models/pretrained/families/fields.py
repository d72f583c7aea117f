"""What several families' config.json say in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxir.checks import InputError
from jaxir.models.config import TransformerConfig

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
GATED = {"gelu": "geglu", "gelu_tanh": "geglu_tanh", "silu": "swiglu"}


def activation(name: str, *, gated: bool = False) -> str:
    """Our name of an activation function.

    Raises:
      InputError: one that the trunk does not have.
    """
    ours = ACTIVATIONS.get(name)
    if gated:
        ours = GATED.get(ours or "")
    if ours is None:
        raise InputError(
            f"config.json asks for the {'gated ' if gated else ''}activation {name!r}, which the trunk "
            f"does not have; it has {', '.join(ACTIVATIONS)}"
        )
    return ours


def published(ours: str) -> str | None:
    """The other way: the name in config.json of one of our activations, gated or not."""
    plain = {v: k for k, v in GATED.items()}.get(ours, ours)
    names = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu", "silu": "silu"}
    return names.get(plain)


def untied(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Of a masked language model's head: whether its matrix is its own and not the token embedding."""
    return {} if hf.get("tie_word_embeddings", True) else {"tied": False}


def head_dropout(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Of a classifier: the share that its dropout hides."""
    given = hf.get("classifier_dropout")
    return {"head_dropout": hf.get("hidden_dropout_prob", 0.1) if given is None else given}


def rope(hf: Mapping[str, Any], kind: str = "full_attention") -> dict[str, Any]:
    """The rotary parameters of one kind of layer: rope_theta, and with scaling rope_type and its numbers.

    Files before transformers 5 have ``rope_theta`` and ``rope_scaling``, later ones
    ``rope_parameters``, which may differ between kinds of layers.
    """
    parameters = hf.get("rope_parameters")
    if isinstance(parameters, Mapping):
        chosen = parameters.get(kind, parameters)
        return dict(chosen) if isinstance(chosen, Mapping) else {}
    out: dict[str, Any] = {}
    if "rope_theta" in hf:
        out["rope_theta"] = hf["rope_theta"]
    scaling = hf.get("rope_scaling") or {}
    out.update(scaling)
    if "type" in out:
        out.setdefault("rope_type", out.pop("type"))
    return out


def scaling(rope_parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The trunk's ``rotary_scaling``; None = plain rotary positions."""
    if rope_parameters.get("rope_type", "default") == "default":
        return None
    return {k: v for k, v in rope_parameters.items() if k != "rope_theta" and v is not None}


def windows(hf: Mapping[str, Any], distance: int) -> tuple[int, ...] | None:
    """Farthest visible distances by layer from ``layer_types``; None where the file has none."""
    kinds: Sequence[str] | None = hf.get("layer_types")
    if not kinds:
        return None
    unknown = sorted(set(kinds) - {"full_attention", "sliding_attention"})
    if unknown:
        raise InputError(f"config.json has layers of the kind {unknown[0]!r}, which the trunk does not have")
    return shortest([distance if kind == "sliding_attention" else 0 for kind in kinds])


def shortest(pattern: Sequence[int]) -> tuple[int, ...]:
    """The shortest pattern that gives the same when repeated to this length.

    >>> shortest([0, 4, 0, 4]), shortest([4, 4, 0])
    ((0, 4), (4, 4, 0))
    """
    n = len(pattern)
    for size in range(1, n + 1):
        if all(pattern[i] == pattern[i % size] for i in range(n)):
            return tuple(pattern[:size])
    return tuple(pattern)


def published_rope(c: TransformerConfig) -> dict[str, Any]:
    """config.json's rope_parameters of a trunk's layers that see everything."""
    return {"rope_type": "default", "rope_theta": c.rotary_theta, **dict(c.rotary_scaling or {})}
