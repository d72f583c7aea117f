"""A vectors directory in the making: written shard by shard beside its final name, continued after a kill."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxir.checks import InputError
from jaxir.files import PathLike, read_json, write_json, write_manifest
from jaxir.retrieval import sparse_vectors, vectors
from jaxir.retrieval.ids import check_unique
from jaxir.retrieval.sparse_vectors import SparseRows
from jaxir.retrieval.vectors import open_array, save_array, write_header

PROGRESS = "encoding.json"

Rows = np.ndarray | SparseRows
"""[b, d], dense or sparse: all of one directory are the same."""


class Shards:
    """``.NAME.partial`` beside ``out``: opened where it was left if ``key`` is the same, else anew.

    A shard counts once ``encoding.json`` says so, and that is written after the shard's data has
    reached the disk. The file stays in the finished directory, so that no moment of the end of the work
    is one where a kill loses it.

    Args:
      key: names everything that the vectors depend on.
      n: rows in all.
      dtype: of the vectors as they are stored; sparse rows in memory are always float32.
      part: names the part of one process, which lies in ``.NAME.partial.PART``.
    """

    def __init__(self, out: PathLike, *, key: str, n: int, part: str = "", dtype: str = "float32"):
        self.out = pathlib.Path(out)
        self.path = self.place(out, part)
        self.key, self.n, self.dtype = key, n, dtype
        self.done, self.dim = 0, 0
        self.nnz: int | None = None  # weights that are written; None where rows are dense
        if (self.path / PROGRESS).is_file():
            saved = read_json(self.path / PROGRESS)
            if saved.get("key") == key and saved.get("n") == n:
                self.done, self.dim, self.nnz = saved["done"], saved["dim"], saved.get("nnz")
        if not self.done:
            shutil.rmtree(self.path, ignore_errors=True)
            (self.path / "ids").mkdir(parents=True)

    @staticmethod
    def place(out: PathLike, part: str = "") -> pathlib.Path:
        """Where the directory ``out``, or a part of it, is made."""
        out = pathlib.Path(out)
        return out.parent / (f".{out.name}.partial" + (f".{part}" if part else ""))

    def read(self) -> Iterator[tuple[int, Rows, np.ndarray]]:
        """(first row, vectors, ids) of each shard that is done, memory-mapped, in order of rows."""
        sparse = self.nnz is not None
        arrays = [
            open_array(self.path / name) for name in (sparse_vectors.FILES if sparse else [vectors.FILE])
        ]
        for file in sorted((self.path / "ids").iterdir()):
            start, ids = int(file.stem), open_array(file)
            if start < self.done:
                stop = start + len(ids)
                yield (
                    start,
                    sparse_vectors.slice_of(*arrays, start, stop, self.dim)
                    if sparse
                    else arrays[0][start:stop],
                    ids,
                )

    def write(self, start: int, values: Rows, ids: np.ndarray) -> None:
        """Writes the rows from ``start`` on, which is where the last shard ended."""
        self.dim = values.shape[1]
        save_array(self.path / "ids" / f"{start:012}.npy", ids)
        if isinstance(values, SparseRows):
            self.nnz = sparse_vectors.write_rows(
                self.path, values, start=start, n=self.n, nnz=self.nnz or 0, dtype=self.dtype
            )
        else:
            vectors.write_rows(self.path, values, start=start, n=self.n)
        self.done = start + values.shape[0]
        saved = {"key": self.key, "n": self.n, "done": self.done, "dim": self.dim, **self._sparse()}
        write_json(self.path / PROGRESS, saved)

    def finish(self, **facts: Any) -> None:
        """Joins the ids, writes the manifest, and gives the directory its final name.

        Raises:
          InputError: an id occurs twice.
        """
        if not (self.path / "ids.npy").is_file():
            self._join_ids()
        check_unique(open_array(self.path / "ids.npy"), "the collection")
        shutil.rmtree(self.path / "ids", ignore_errors=True)
        (self.path / "manifest.json").unlink(missing_ok=True)
        layout = {"layout": "sparse", **self._sparse()} if self._sparse() else {}
        write_manifest(self.path, "vectors", n=self.n, dim=self.dim, dtype=self.dtype, **layout, **facts)
        if self.out.is_dir():
            shutil.rmtree(self.out)
        elif self.out.exists():
            self.out.unlink()
        os.replace(self.path, self.out)

    def _sparse(self) -> dict[str, int]:
        return {} if self.nnz is None else {"nnz": self.nnz}

    def _join_ids(self) -> None:
        parts = [open_array(file) for file in sorted((self.path / "ids").iterdir())]
        if sum(map(len, parts)) != self.n:
            raise InputError(f"{self.path} is damaged: remove it and encode again")
        dtype = f"S{max(part.dtype.itemsize for part in parts)}"
        joining = self.path / "ids.npy.tmp"
        with joining.open("wb") as file:
            write_header(file, (self.n,), dtype)
            for part in parts:
                file.write(part.astype(dtype))
        os.replace(joining, self.path / "ids.npy")
