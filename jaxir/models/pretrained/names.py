"""Which tensor of a weights file is which parameter of ours.

A table maps parameter paths of the trunk ("layers_0/attention/query/kernel") to :class:`Tensor`. It is
read in both directions: loading and export use the same table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Tensor(NamedTuple):
    """A parameter's place in a weights file."""

    name: str
    transpose: bool = False  # torch keeps a linear map as [outputs, inputs]
    part: int = 0  # of fused tensors: this one of so many equal blocks of rows
    parts: int = 1


Table = dict[str, Tensor]


def linear(path: str, name: str, *, bias: bool) -> Table:
    """A linear map: ``path/kernel`` and, with biases, ``path/bias``."""
    table = {f"{path}/kernel": Tensor(f"{name}.weight", transpose=True)}
    if bias:
        table[f"{path}/bias"] = Tensor(f"{name}.bias")
    return table


def fused(paths: Iterable[str], name: str, *, bias: bool) -> Table:
    """Several linear maps whose outputs are stacked in one tensor, in the order given."""
    paths = list(paths)
    table = {}
    for part, path in enumerate(paths):
        table[f"{path}/kernel"] = Tensor(f"{name}.weight", True, part, len(paths))
        if bias:
            table[f"{path}/bias"] = Tensor(f"{name}.bias", False, part, len(paths))
    return table


def norm(path: str, name: str, *, bias: bool) -> Table:
    """A norm: ``path/scale`` and, with a bias, ``path/bias``."""
    table = {f"{path}/scale": Tensor(f"{name}.weight")}
    if bias:
        table[f"{path}/bias"] = Tensor(f"{name}.bias")
    return table


def embedding(path: str, name: str) -> Table:
    """A table of embeddings."""
    return {f"{path}/embedding": Tensor(f"{name}.weight")}


def under(prefix: str, table: Table) -> Table:
    """The table with ``prefix/`` before every path.

    >>> list(under("trunk", embedding("token_embedding", "wte")))
    ['trunk/token_embedding/embedding']
    """
    return {f"{prefix}/{path}": tensor for path, tensor in table.items()}
