"""A directory of sparse vectors: what ``jaxir encode`` writes for a sparse encoder.

The same directory as that of dense ones (:mod:`jaxir.retrieval.vectors`) with ``layout="sparse"`` in its
manifest: row i has the terms ``indices[indptr[i]:indptr[i + 1]]``, increasing, with weights ``values`` above
0. ``indptr.npy`` [n + 1] int64, ``indices.npy`` [nnz] int32, ``values.npy`` [nnz] float32 or float16,
``ids.npy`` [n] bytes, all read memory-mapped.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, vstack

from jaxir.checks import InputError, check_known
from jaxir.files import PathLike, new_directory, read_manifest, write_manifest
from jaxir.retrieval.ids import check_unique, pack_ids
from jaxir.retrieval.vectors import DTYPES, open_array, save_array, write_header

SparseRows = csr_array
"""[n, dim] float32 in memory: sorted indices, no explicit zeros."""

FILES = ("indptr.npy", "indices.npy", "values.npy")


class SparseVectors(NamedTuple):
    """An opened directory; row i belongs to ``ids[i]``."""

    path: pathlib.Path
    indptr: np.ndarray  # [n + 1] int64
    indices: np.ndarray  # [nnz] int32
    values: np.ndarray  # [nnz] float32 or float16
    ids: np.ndarray  # [n] bytes
    dim: int
    manifest: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """(documents, vocabulary)."""
        return len(self.ids), self.dim

    def rows(self, some: slice = slice(None)) -> SparseRows:
        """Consecutive rows as float32. Those of a float32 directory stay memory-mapped."""
        start, stop, _ = some.indices(len(self.ids))
        return slice_of(self.indptr, self.indices, self.values, start, stop, self.dim)


def read(path: PathLike) -> SparseVectors:
    """Opens a directory of sparse vectors.

    Raises:
      InputError: not one, dense vectors, torn, or the arrays contradict the manifest.
    """
    path = pathlib.Path(path)
    manifest = read_manifest(path, "vectors")
    if manifest.get("layout") != "sparse":
        raise InputError(
            f"{path} holds dense vectors, expected sparse ones: take an index of kind exact or scann"
        )
    indptr, indices, values = (open_array(path / name) for name in FILES)
    ids = open_array(path / "ids.npy")
    n, dim, nnz = (manifest.get(name) for name in ("n", "dim", "nnz"))
    consistent = (
        indptr.shape == (len(ids) + 1,) == ((n or 0) + 1,)
        and indices.shape == values.shape == (nnz,)
        and indptr[-1] == nnz
        and str(values.dtype) in DTYPES
        and isinstance(dim, int)
    )
    if not consistent:
        raise InputError(f"{path} is damaged: its arrays do not have the sizes of its manifest")
    return SparseVectors(path, indptr, indices, values, ids, dim, manifest)


def write(
    path: PathLike,
    rows: SparseRows,
    ids: Sequence[str],
    *,
    dtype: str = "float32",
    side: str = "doc",
    model: str = "",
    source: dict[str, Any] | None = None,
    overwrite: bool = False,
    **facts: Any,
) -> None:
    """Writes sparse vectors that are already in memory, from whatever encoder.

    Args:
      rows: [n, dim] with weights of 0 or above.
      dtype: of the stored weights, "float32" or "float16".
      ids, side, model, source, facts: as for :func:`jaxir.retrieval.vectors.write`.

    Raises:
      InputError: a negative weight, NaN or infinity, other dtypes, repeated ids, or ``path`` exists.
    """
    check_known("dtype", dtype, DTYPES)
    if len(ids) != rows.shape[0]:
        raise InputError(f"{rows.shape[0]} vectors come with {len(ids)} ids; they must be as many")
    packed = pack_ids(ids)
    check_unique(packed, "ids")
    rows = rounded(rows, dtype)
    check_weights(rows, lambda row: f"{ids[row]!r}")
    with new_directory(path, overwrite=overwrite) as work:
        write_rows(work, rows, start=0, n=len(ids), nnz=0, dtype=dtype)
        save_array(work / "ids.npy", packed)
        sizes = dict(n=len(ids), dim=rows.shape[1], nnz=int(rows.nnz), dtype=dtype, layout="sparse")
        write_manifest(
            work, "vectors", **sizes, side=side, normalized=False, model=model, source=source, **facts
        )


def write_rows(
    directory: pathlib.Path, rows: SparseRows, *, start: int, n: int, nnz: int, dtype: str = "float32"
) -> int:
    """Writes rows ``start`` ... of ``n`` after the first ``nnz`` weights; returns how many there are then.

    What lies behind is cut off. On return everything has reached the disk.
    """
    total = nnz + rows.nnz
    with (directory / FILES[0]).open("r+b" if start else "wb") as file:
        begin = write_header(file, (n + 1,), np.int64)
        if not start:
            file.write(np.zeros(1, np.int64))
        file.seek(begin + 8 * (start + 1))
        file.write(nnz + rows.indptr[1:].astype(np.int64))
        file.flush()
        os.fsync(file.fileno())
    arrays = rows.indices.astype(np.int32, copy=False), rows.data.astype(dtype, copy=False)
    for name, array in zip(FILES[1:], arrays):
        with (directory / name).open("r+b" if start else "wb") as file:
            begin = write_header(file, (total,), array.dtype)  # its length does not depend on the number
            file.seek(begin + nnz * array.itemsize)
            file.truncate()
            file.write(np.ascontiguousarray(array))
            file.flush()
            os.fsync(file.fileno())
    return total


def slice_of(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, start: int, stop: int, dim: int
) -> SparseRows:
    """Rows ``start`` ... ``stop - 1`` of stored arrays, as float32."""
    at = indptr[start : stop + 1]
    first, last = int(at[0]), int(at[-1])
    offsets = at - first
    small = last - first < 1 << 31  # else scipy wants 64 bits for both
    data = values[first:last].astype(np.float32, copy=False)
    return csr_array(
        (data, indices[first:last], offsets.astype(np.int32) if small else offsets), shape=(stop - start, dim)
    )


def from_dense(values: Float[np.ndarray, "n v"]) -> SparseRows:
    """The non-zero values of dense rows (NaN counts as one).

    >>> from_dense(np.array([[0, 2.0], [0, 0]], np.float32)).toarray().tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    n, dim = values.shape
    flat = np.flatnonzero(values != 0)
    indptr = np.searchsorted(flat, np.arange(n + 1) * dim).astype(np.int32)
    return csr_array((values.reshape(-1)[flat], (flat % dim).astype(np.int32), indptr), shape=(n, dim))


def in_order(parts: Sequence[SparseRows], places: Sequence[np.ndarray]) -> SparseRows:
    """The rows of all parts, where row j of part i belongs to ``places[i][j]``."""
    place = np.concatenate(places)
    rows = vstack(parts, format="csr")
    return rows[np.argsort(place, kind="stable")]


def rounded(rows: Any, dtype: str = "float32") -> SparseRows:
    """Any sparse matrix as float32 rows with the values that ``dtype`` can hold.

    A copy with sorted indices, no duplicates and no explicit zeros, also where a small value becomes one.
    """
    rows = csr_array(rows, dtype=np.float32, copy=True)
    rows.sum_duplicates()
    with np.errstate(over="ignore"):
        rows.data = rows.data.astype(dtype).astype(np.float32)
    rows.eliminate_zeros()
    return rows


def check_weights(rows: SparseRows, name: Callable[[int], str]) -> None:
    """Raises an InputError for NaN, infinity or a weight below 0, with the name of the first such row."""
    for wrong, what in ((~np.isfinite(rows.data), "NaN or infinity"), (rows.data < 0, "a negative weight")):
        if wrong.any():
            found = np.unique(np.searchsorted(rows.indptr, np.flatnonzero(wrong), side="right") - 1)
            raise InputError(
                f"the sparse vector of {name(int(found[0]))} has {what} ({len(found)} such vectors): weights "
                "must be 0 or above, as an encoder with relu gives them; jaxir doctor says more of a model"
            )
