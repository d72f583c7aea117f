"""Tensors of safetensors files, read slice by slice into their final place; and written."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy

from jaxir.checks import InputError
from jaxir.files import PathLike, read_json
from jaxir.models.pretrained.names import Table, Tensor

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
FLOATS = ("F64", "F32", "F16", "BF16")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
SHOWN = 6

Shardings = Callable[[Any], Any]
"""A pytree of ShapeDtypeStructs -> a pytree of shardings."""


class Weights(NamedTuple):
    """The tensors of a folder, by the names that the tables use."""

    folder: pathlib.Path
    files: dict[str, Any]  # name -> the open file
    stored: dict[str, str]  # name -> its name in that file

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape."""
        return tuple(self._slice(name).get_shape())

    def read(self, name: str, index: Sequence[slice]) -> np.ndarray:
        """A part of a tensor; only these bytes are read."""
        part = self._slice(name)
        if part.get_dtype() not in FLOATS:
            raise InputError(
                f"{self.folder}: {name} holds {part.get_dtype()} numbers. Quantised weights are not "
                f"supported; jaxir reads {', '.join(FLOATS)}"
            )
        return part[tuple(index)] if index else part[...]

    def _slice(self, name: str) -> Any:
        return self.files[name].get_slice(self.stored[name])


def open_folder(
    folder: pathlib.Path,
    *,
    prefixes: Iterable[str] = (),
    renames: Iterable[tuple[str, str]] = (),
) -> Weights:
    """Opens ``model.safetensors``, or the parts that ``model.safetensors.index.json`` lists.

    ``prefixes`` are cut from names, ``renames`` (regex, replacement) applied.

    Raises:
      InputError: no safetensors (says how to convert pickles), damaged or missing files.
    """
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX).get("weight_map", {})
        paths = [folder / name for name in sorted(set(index.values()))]
    elif (folder / SINGLE).is_file():
        paths = [folder / SINGLE]
    else:
        raise InputError(_no_safetensors(folder))
    missing = [p.name for p in paths if not p.is_file()]
    if missing:
        raise InputError(f"{folder} lacks {_some(missing)}, which {INDEX} names: copy the model again")
    files: dict[str, Any] = {}
    stored: dict[str, str] = {}
    for path in paths:
        try:
            opened = safetensors.safe_open(path, "np")
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(f"{path} is damaged or cut short ({error}): copy it again") from error
        for name in opened.keys():  # noqa: SIM118 - it is no dict
            ours = _canonical(name, prefixes, renames)
            files.setdefault(ours, opened)
            stored.setdefault(ours, name)
    return Weights(folder, files, stored)


def _canonical(name: str, prefixes: Iterable[str], renames: Iterable[tuple[str, str]]) -> str:
    prefix = next((p for p in prefixes if name.startswith(p)), "")
    name = name.removeprefix(prefix)
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _no_safetensors(folder: pathlib.Path) -> str:
    pickles = sorted(f.name for pattern in PICKLES for f in folder.glob(pattern))
    if not pickles:
        return f"{folder} holds no weights: there is no {SINGLE}"
    return (
        f"{folder} holds its weights only as {_some(pickles)}, which can run code when opened; jaxir reads "
        "safetensors. Convert it where torch and transformers are installed: "
        f"AutoModel.from_pretrained({str(folder)!r}).save_pretrained('converted', safe_serialization=True)"
    )


def check(
    weights: Weights, table: Table, shapes: Mapping[str, Any], *, known: Iterable[str], ignore: Iterable[str]
) -> None:
    """Refuses weights that are not exactly what the parameters need.

    Args:
      table: parameter path -> tensor.
      shapes: parameter path -> anything with ``shape``.
      known: further tensor names that may stand in the file.
      ignore: regexes of names that may stand there.

    Raises:
      InputError: names the missing, the wrong-shaped and the unused tensors.
    """
    wanted = {tensor.name for tensor in table.values()}
    problems = []
    missing = sorted(wanted - weights.files.keys())
    if missing:
        problems.append(f"missing: {_some(missing)}")
    wrong = []
    for path, tensor in table.items():
        if tensor.name in weights.files:
            expected = stored_shape(tensor, shapes[path].shape)
            found = weights.shape(tensor.name)
            if found != expected:
                wrong.append(f"{tensor.name} is {list(found)}, by the config {list(expected)}")
    if wrong:
        problems.append(f"of another shape: {_some(dict.fromkeys(wrong))}")
    ignore = list(ignore)
    unused = sorted(
        name
        for name in weights.files.keys() - wanted - set(known)
        if not any(re.search(pattern, name) for pattern in ignore)
    )
    if unused:
        problems.append(f"unused: {_some(unused)} (ignore=(regex, ...) leaves tensors aside)")
    if problems:
        raise InputError(f"the weights in {weights.folder} do not fit its config. " + "; ".join(problems))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def stored_shape(tensor: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    """The file's shape of a tensor that gives a parameter of this shape."""
    out = list(reversed(shape)) if tensor.transpose else list(shape)
    out[0] *= tensor.parts
    return tuple(out)


def read_leaf(weights: Weights, tensor: Tensor, leaf: Any, dtype: Any, sharding: Any) -> jax.Array:
    """One parameter, each device's part read from the file straight into its place."""

    def read(index: tuple[slice, ...]) -> np.ndarray:
        # slice(None) -> slice(0, size): the file's slices are shifted by the part of a fused tensor.
        bounds = [slice(*s.indices(n)) for s, n in zip(index, leaf.shape)]
        if tensor.transpose:
            bounds.reverse()
        if tensor.parts > 1:
            rows = leaf.shape[-1] if tensor.transpose else leaf.shape[0]
            offset = tensor.part * rows
            bounds[0] = slice(bounds[0].start + offset, bounds[0].stop + offset)
        values = weights.read(tensor.name, bounds)
        values = values.T if tensor.transpose else values
        return np.ascontiguousarray(values.astype(dtype))

    return jax.make_array_from_callback(tuple(leaf.shape), sharding, read)


def stored_tensors(table: Table, leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The way back: parameters by path -> tensors by name, fused ones put together again."""
    parts: dict[str, dict[int, np.ndarray]] = {}
    for path, tensor in table.items():
        value = np.asarray(leaves[path])
        value = value.T if tensor.transpose else value
        parts.setdefault(tensor.name, {})[tensor.part] = value
    return {
        name: np.ascontiguousarray(np.concatenate([blocks[i] for i in sorted(blocks)]))
        for name, blocks in parts.items()
    }


def save(path: PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes one safetensors file. The format note is what transformers insists on."""
    safetensors.numpy.save_file(dict(tensors), path, metadata={"format": "pt"})


def fingerprint(weights: Weights) -> str:
    """A name for the content: sizes, headers, and samples of each file (all of it up to 16 MB)."""
    digest = hashlib.blake2b(digest_size=8)
    paths = (
        sorted(set(read_json(weights.folder / INDEX)["weight_map"].values()))
        if (weights.folder / INDEX).is_file()
        else [SINGLE]
    )
    for name in paths:
        path = weights.folder / name
        size, block, count = path.stat().st_size, 1 << 20, 16
        digest.update(f"{name} {size}".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(size // count, block)):
                file.seek(start)
                digest.update(file.read(block))
    return digest.hexdigest()
