"""A directory of vectors: what ``jaxir encode`` writes and ``jaxir index`` reads.

``vectors.npy`` [n, dim] float32 or float16, ``ids.npy`` [n] bytes, ``manifest.json``. Both arrays are
read memory-mapped, so that a collection need not fit in memory.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxir.checks import InputError, check_known
from jaxir.files import PathLike, new_directory, read_manifest, write_manifest
from jaxir.retrieval.ids import check_unique, pack_ids

DTYPES = ("float32", "float16")
FILE = "vectors.npy"


class Vectors(NamedTuple):
    """An opened directory; ``values[i]`` belongs to ``ids[i]``."""

    path: pathlib.Path
    values: np.ndarray  # [n, dim] float32 or float16, memory-mapped
    ids: np.ndarray  # [n] bytes
    manifest: dict[str, Any]  # n, dim, dtype, side, normalized, model, source, ...


def read(path: PathLike) -> Vectors:
    """Opens a vectors directory.

    Raises:
      InputError: not one, sparse vectors, torn, or the arrays contradict the manifest.
    """
    path = pathlib.Path(path)
    manifest = read_manifest(path, "vectors")
    if manifest.get("layout") == "sparse":
        raise InputError(
            f"{path} holds sparse vectors, expected dense ones: take an index of kind sparse, seismic or bmp"
        )
    values, ids = open_array(path / FILE), open_array(path / "ids.npy")
    expected = (manifest.get("n"), manifest.get("dim"))
    if values.shape != expected or str(values.dtype) not in DTYPES or len(ids) != len(values):
        raise InputError(
            f"{path} is damaged: vectors.npy is {values.dtype} {values.shape} with {len(ids)} ids, "
            f"the manifest says {expected}"
        )
    return Vectors(path, values, ids, manifest)


def write(
    path: PathLike,
    values: Float[np.ndarray, "n dim"],
    ids: Sequence[str],
    *,
    side: str = "doc",
    normalized: bool = False,
    model: str = "",
    source: dict[str, Any] | None = None,
    overwrite: bool = False,
    **facts: Any,
) -> None:
    """Writes vectors that are already in memory, from whatever encoder, as a vectors directory.

    Args:
      values: [n, dim] float32 or float16.
      ids: one unique id per row.
      normalized: whether every row has length 1.
      model: the fingerprint of the model that made them.
      source: {"name", "fingerprint", "path"} of the data set that was encoded.
      facts: anything else for the manifest that JSON can write.

    Raises:
      InputError: other shapes or dtypes, repeated ids, or ``path`` exists.
    """
    check_known("dtype of vectors", str(values.dtype), DTYPES)
    if len(ids) != len(values):
        raise InputError(f"{len(values)} vectors come with {len(ids)} ids; they must be as many")
    packed = pack_ids(ids)
    check_unique(packed, "ids")
    with new_directory(path, overwrite=overwrite) as work:
        save_array(work / FILE, values)
        save_array(work / "ids.npy", packed)
        write_manifest(
            work,
            "vectors",
            n=len(values),
            dim=values.shape[1],
            dtype=str(values.dtype),
            side=side,
            normalized=normalized,
            model=model,
            source=source,
            **facts,
        )


def write_rows(directory: pathlib.Path, values: Float[np.ndarray, "b d"], *, start: int, n: int) -> None:
    """Writes rows ``start`` ... of ``n`` into the array file; on return they have reached the disk."""
    with (directory / FILE).open("r+b" if start else "wb") as file:
        begin = write_header(file, (n, values.shape[1]), values.dtype)
        file.seek(begin + start * values.shape[1] * values.itemsize)
        file.write(np.ascontiguousarray(values))
        file.flush()
        os.fsync(file.fileno())


def open_array(path: PathLike) -> np.ndarray:
    """A memory-mapped .npy file as a plain array.

    Raises:
      InputError: missing, or not a .npy file of numbers or bytes.
    """
    try:
        # np.memmap costs microseconds per slice over a plain view of the same pages.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or no array file: {error}") from error


def save_array(path: PathLike, array: np.ndarray) -> None:
    """``np.save`` without its trap: on a full disk that raises an OSError without the reason."""
    with pathlib.Path(path).open("wb") as file:
        write_header(file, array.shape, array.dtype)
        file.write(np.ascontiguousarray(array))


def write_header(file: BinaryIO, shape: tuple[int, ...], dtype: Any) -> int:
    """Starts a .npy file whose rows are written afterwards; returns where its data begins.

    Rows go through plain writes, not through a memory map, because on a full disk a write fails with
    an error and a memory map with a signal.
    """
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def row_blocks(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` rows.

    >>> list(row_blocks(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
