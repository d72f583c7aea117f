"""Device meshes, and where each array lies on them.

Two axes: ``data`` holds whole copies of the parameters, ``fsdp`` shards them. The batch is split over
both. A bigger mesh changes speed and memory, never the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxir import trees
from jaxir.checks import InputError

AXES = ("data", "fsdp")
Rules = Sequence[tuple[str, Sequence[str | None]]]


def make_mesh(data: int = -1, fsdp: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of data x fsdp devices; -1 (for one of the two) takes what is left.

    Raises:
      InputError: sizes that do not fit the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = [data, fsdp]
    if sizes.count(-1) > 1 or any(s == 0 or s < -1 for s in sizes):
        raise InputError(f"mesh sizes data={data}, fsdp={fsdp}: positive numbers, at most one of them -1")
    if -1 in sizes:
        other = sizes[1 - sizes.index(-1)]
        if len(devices) % other:
            raise InputError(f"{len(devices)} devices cannot be divided into groups of {other}")
        sizes[sizes.index(-1)] = len(devices) // other
    count = sizes[0] * sizes[1]
    if count > len(devices):
        raise InputError(
            f"the mesh data={sizes[0]} x fsdp={sizes[1]} needs {count} devices, {len(devices)} are there"
        )
    # make_mesh's default axis type, Explicit, is refused by flax linen.
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * 2, devices=devices[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises unless every device gets the same number of rows; names the nearest size that fits."""
    n = mesh.size
    if batch_size % n or batch_size <= 0:
        lower, upper = batch_size // n * n, -(-batch_size // n) * n
        fitting = " or ".join(str(s) for s in dict.fromkeys((lower, upper)) if s > 0) or str(n)
        raise InputError(f"batch_size {batch_size} cannot be divided over {n} devices; use {fitting}")


def param_shardings(shapes: Any, mesh: Mesh, *, rules: Rules = (), min_size: int = 2**14) -> Any:
    """A NamedSharding per leaf: over ``fsdp`` along the largest dimension that it divides.

    Leaves under ``min_size`` entries, and those no dimension of which divides, are copied to every
    device. ``rules``: (path regex, partition spec) pairs, the first match wins.

    Args:
      shapes: a pytree of arrays or ShapeDtypeStructs.
    """
    size = mesh.shape["fsdp"]

    def of(name, leaf):
        for pattern, spec in rules:
            if re.search(pattern, name):
                return NamedSharding(mesh, PartitionSpec(*spec))
        spec = [None] * len(leaf.shape)
        fitting = [d for d in leaf.shape if d % size == 0]
        if size > 1 and fitting and np.prod(leaf.shape) >= min_size:
            spec[leaf.shape.index(max(fitting))] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return trees.map_named(of, shapes)


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts this process's rows of a batch of numpy arrays on its devices."""
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
