"""At which sizes an encoder was trained, as its config says, and what to say of the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from jaxir.models.cut import NAMES
from jaxir.types import Encoder

Sizes = list[tuple[int, int]]


def trained_sizes(config: Mapping[str, Any], encoder: Encoder) -> Sizes | None:
    """The pairs (layers, dims) that ``config["nested"]`` trains, ascending; None of a plain training.

    ``starbucks`` lists them, ``matryoshka`` has its widths at all layers, ``matryoshka_2d`` at each. An
    encoder without layers has 0. Of a model that is cut already these are the sizes of the whole one.

    >>> config = dict(nested=dict(fn="jaxir.objectives:matryoshka", dims=(32, 64)))
    >>> trained_sizes(config, Encoder(init=None, encode=None, dim=128, layers=6))
    [(6, 32), (6, 64)]
    """
    nested = config.get("nested")
    if not nested:
        return None
    layers, _ = whole_size(config, encoder)
    if nested.get("sizes") is not None:
        pairs = [(layers if l is None else int(l), int(d)) for l, d in nested["sizes"]]
    elif nested.get("dims") is not None:
        each = str(nested.get("fn", "")).endswith("matryoshka_2d")
        depths = range(1, layers + 1) if each else (layers,)
        pairs = [(l, int(d)) for l, d in itertools.product(depths, nested["dims"])]
    else:  # another wrapper, which says its sizes in words of its own
        return None
    return sorted(set(pairs))


def whole_size(config: Mapping[str, Any], encoder: Encoder) -> tuple[int, int]:
    """(layers, dims) of the encoder, or of the one that it was cut from."""
    layers, dims = (config.get("size") or {}).get("whole") or (encoder.layers, encoder.dim)
    return layers, dims


def size_warning(
    config: Mapping[str, Any], encoder: Encoder, *, layers: int | None = None, dims: int | None = None
) -> str | None:
    """A sentence on a size at which the encoder was not trained; None of one at which it was."""
    whole = whole_size(config, encoder)
    size = (layers or encoder.layers, dims or encoder.dim)
    known = trained_sizes(config, encoder)
    if size == whole or (known and size in known):
        return None
    unit = NAMES[encoder.kind]
    if known is None:
        said = "nothing says that this model was trained for smaller sizes (its config has no nested)"
    else:
        said = f"this model was trained at {describe_sizes(known, unit)}"
    return (
        f"{said}: at {describe_size(size, whole, unit)} its quality may be far lower. "
        "jaxir doctor --sizes and jaxir evaluate --grid measure it"
    )


def cut_to(config: Mapping[str, Any], encoder: Encoder) -> str | None:
    """The size of a model that :func:`jaxir.retrieval.model.cut_model` cut, in words; None of a whole one."""
    size = config.get("size")
    if not size:
        return None
    whole = whole_size(config, encoder)
    return describe_size((size["layers"] or whole[0], size["dims"] or whole[1]), whole, NAMES[encoder.kind])


def describe_size(size: tuple[int, int], whole: tuple[int, int], unit: str = "dimensions") -> str:
    """A size in words, of which what is whole is not counted.

    >>> describe_size((2, 64), (6, 384)), describe_size((2, 384), (6, 384)), describe_size((0, 64), (0, 384))
    ('2 of 6 layers and 64 of 384 dimensions', '2 of 6 layers', '64 of 384 dimensions')
    """
    parts = [f"{size[0]} of {whole[0]} layers"] if size[0] != whole[0] else []
    if size[1] != whole[1]:
        parts.append(f"{size[1]} {unit}" if "terms" in unit else f"{size[1]} of {whole[1]} {unit}")
    return " and ".join(parts) or "full size"


def describe_sizes(sizes: Sequence[tuple[int, int]], unit: str = "dimensions") -> str:
    """Several of them, short where every width is there at every layer.

    >>> describe_sizes([(2, 32), (6, 128)])
    '2 x 32, 6 x 128 (layers x dimensions)'
    >>> describe_sizes([(1, 32), (1, 64), (2, 32), (2, 64)])
    '1, 2 layers x 32, 64 dimensions'
    >>> describe_sizes([(0, 32), (0, 64)])
    '32, 64 dimensions'
    """
    depths, widths = sorted({l for l, _ in sizes}), sorted({d for _, d in sizes})
    commas = lambda numbers: ", ".join(map(str, numbers))
    if depths == [0]:
        return f"{commas(widths)} {unit}"
    if set(sizes) == set(itertools.product(depths, widths)):
        return f"{commas(depths)} layers x {commas(widths)} {unit}"
    return f"{commas(f'{l} x {d}' for l, d in sizes)} (layers x {unit})"
