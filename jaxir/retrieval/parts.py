"""A vectors directory that several processes make: each encodes whole shards, process 0 joins them.

Process 0 writes into the directory itself (:mod:`jaxir.retrieval.shards`), each other process into one of
its own beside it, on the disk that they share. Shards are cut as for one process, so that every text is
encoded in the same batch and no byte of the result tells how many processes there were. Any of them may be
killed: started again, each goes on after its last whole shard, and so does the joining.
"""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from jaxir import processes
from jaxir.checks import InputError
from jaxir.files import PathLike, fingerprint
from jaxir.retrieval.shards import Rows, Shards
from jaxir.retrieval.vectors import row_blocks


class Parts:
    """This process's part of the directory in the making; all processes call all methods.

    Args:
      key: names everything that the vectors depend on; a partial result of another key is not continued.
      n: rows in all.
      shard_docs: rows per shard.
      dtype: of the stored vectors.

    Raises:
      InputError: the directory of ``out`` is not writable, or not the same for all processes.
    """

    def __init__(self, out: PathLike, *, key: str, n: int, shard_docs: int, dtype: str = "float32"):
        self._out, self._key, self._n, self._shard_docs = pathlib.Path(out), key, n, shard_docs
        self._dtype = dtype
        processes.shared_directory(self._out.parent)
        self._whole = Shards(out, key=key, n=n, dtype=dtype) if processes.is_first() else None
        joined = processes.from_first("joined", self._whole.done if self._whole else None)
        self.rows = self._rows_of(processes.index())
        self._own: Shards | None = self._whole
        if self._whole is None:
            mine = self.rows.start < self.rows.stop and joined < self.rows.stop
            self._own = self._part(processes.index()) if mine else None

    @property
    def size(self) -> int:
        """Rows that are this process's to encode."""
        return self.rows.stop - self.rows.start

    @property
    def done(self) -> int:
        """How many of them are."""
        return self.size if self._own is None else min(self._own.done, self.size)

    def todo(self) -> Iterator[slice]:
        """The rows of each shard that is left."""
        shards = row_blocks(self._n, self._shard_docs)
        return (s for s in shards if self.rows.start + self.done <= s.start < self.rows.stop)

    def write(self, start: int, values: Rows, ids: np.ndarray) -> None:
        """Writes the rows from ``start`` on, which is where the last shard ended."""
        if self._own is not None:
            self._own.write(start - self.rows.start, values, ids)

    def finish(self, *, progress: bool = True, **facts: object) -> None:
        """Waits for all processes, joins what they wrote, and gives the directory its final name.

        Raises:
          InputError: an id occurs twice, or a part is not there.
        """
        processes.barrier("encoded")
        if self._whole is not None:
            self._join(self._whole, progress)
            self._whole.finish(**facts)
        processes.barrier("joined")

    def _join(self, whole: Shards, progress: bool) -> None:
        others = range(1, processes.count())
        with tqdm(
            total=self._n,
            initial=whole.done,
            desc="join",
            unit=" texts",
            disable=not progress or not others,
            mininterval=0.5,
        ) as bar:
            for process in others:
                rows = self._rows_of(process)
                if whole.done >= rows.stop:
                    continue
                part = self._part(process)
                if part.done < part.n:
                    held = f"{part.done} of the {part.n} texts of process {process}"
                    raise InputError(f"{part.path} holds {held}: was it removed?")
                for start, values, ids in part.read():
                    if rows.start + start >= whole.done:
                        whole.write(rows.start + start, values, ids)
                        bar.update(len(ids))
                shutil.rmtree(part.path)
        for left in whole.path.parent.iterdir():  # of a start with another number of processes
            if re.fullmatch(re.escape(whole.path.name) + r"\.\d+-of-\d+", left.name):
                shutil.rmtree(left)

    def _rows_of(self, process: int) -> slice:
        shards = -(-self._n // self._shard_docs)
        its = processes.rows(shards, process)
        return slice(min(its.start * self._shard_docs, self._n), min(its.stop * self._shard_docs, self._n))

    def _part(self, process: int) -> Shards:
        rows = self._rows_of(process)
        return Shards(
            self._out,
            key=fingerprint(self._key, rows.start, rows.stop),
            n=rows.stop - rows.start,
            dtype=self._dtype,
            part=f"{process}-of-{processes.count()}",
        )
