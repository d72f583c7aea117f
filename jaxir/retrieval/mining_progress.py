"""Lines that are written block by block, so that a job that was stopped goes on where it was."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from jaxir.files import PathLike

_MARK = "#"


class Partial:
    """A file beside ``out`` that holds whole blocks of lines, each followed by a mark with its tally.

    What another job left there, and a block that is not whole, is dropped.

    >>> import tempfile
    >>> out = pathlib.Path(tempfile.mkdtemp(), "a.jsonl")
    >>> with Partial(out, "job") as partial:
    ...     partial.add(['{"a": 1}'], {"lines": 1})
    >>> with Partial(out, "job") as partial:  # goes on
    ...     partial.add(['{"a": 2}'], {"lines": 1})
    ...     partial.finish()
    >>> len(partial.tallies), out.read_text().split()
    (2, ['{"a":', '1}', '{"a":', '2}'])
    """

    def __init__(self, out: PathLike, job: str) -> None:
        self.out = pathlib.Path(out)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.path = self.out.with_name(f".{self.out.name}.partial")
        self.tallies: list[Any] = []
        end = self._read(job)
        self._file = self.path.open("r+b" if end else "wb")
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._write([_MARK + json.dumps(job)])

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, lines: Sequence[str], tally: Any) -> None:
        """Writes a block. ``tally`` is JSON and comes back in ``tallies``."""
        self._write([*lines, _MARK + json.dumps(tally)])
        self.tallies.append(tally)

    def finish(self) -> None:
        """Makes ``out`` of all blocks, gzipped if it ends in ``.gz``, and removes what lay beside it."""
        work = self.out.with_name(f".{self.out.name}.tmp")
        try:
            with work.open("wb") as file:
                if self.out.suffix == ".gz":  # no name and time inside: equal lines, equal files
                    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                        packed.writelines(self._lines())
                else:
                    file.writelines(self._lines())
            os.replace(work, self.out)
        finally:
            work.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Removes what lies beside ``out``."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, lines: Sequence[str]) -> None:
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from (line for line in file if not line.startswith(_MARK.encode()))

    def _read(self, job: str) -> int:
        """Reads the tallies; returns where the last whole block of this job ends."""
        if not self.path.is_file():
            return 0
        end = at = 0
        with self.path.open("rb") as file:
            for line in file:
                at += len(line)
                if not line.startswith(_MARK.encode()) or not line.endswith(b"\n"):
                    continue
                mark = json.loads(line[1:])
                if not end and mark != job:
                    return 0
                if end:
                    self.tallies.append(mark)
                end = at
        return end
