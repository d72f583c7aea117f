"""TFDS array_record data sets: written row by row, read by random access, without TensorFlow.

The files and their metadata are those that ``tfds.builder_from_directory(path)`` opens. Rows are
encoded and decoded here and not by tfds' feature classes, which take 3 to 5 times as long for rows of
a few short fields.
"""

from __future__ import annotations

import errno
import functools
import operator
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, SupportsIndex, TypeVar, overload

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from jaxir.checks import InputError
from jaxir.files import PathLike

T = TypeVar("T")
Schema = Mapping[str, type]
"""Field name -> str, np.int32 or np.int64."""

SHARD_ROWS = 500_000
BLOCK = 1024


def write(
    directory: PathLike,
    schema: Schema,
    splits: Mapping[str, Iterable[Sequence[Any]]],
    *,
    compress: bool = True,
) -> dict[str, int]:
    """Writes ``directory/NAME-SPLIT.array_record-*`` and its metadata; returns rows per split.

    A row is a sequence of values in the schema's order. Only one row is held at a time. A split
    without rows is left out, because TFDS cannot read it.

    Raises:
      OSError: ENOSPC when the disk is full (array_record raises a RuntimeError for it).
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True)  # and removed again when there is nothing to write
    infos = []
    for split, rows in splits.items():
        lengths, size = _write_split(directory, split, schema, rows, compress)
        if lengths:
            infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size))
    if infos:
        tfds.folder_dataset.write_metadata(
            data_dir=directory,
            features={name: _feature(kind) for name, kind in schema.items()},
            split_infos=infos,
            check_data=False,  # would need TensorFlow
        )
    else:
        directory.rmdir()
    return {info.name: info.num_examples for info in infos}


def _feature(kind: type) -> Any:
    return tfds.features.Text() if kind is str else tfds.features.Scalar(kind)


def _write_split(
    directory: pathlib.Path,
    split: str,
    schema: Schema,
    rows: Iterable[Sequence[Any]],
    compress: bool,
) -> tuple[list[int], int]:
    # group_size:1 makes a row readable without its neighbours.
    options = "group_size:1" if compress else "group_size:1,uncompressed"
    text = [kind is str for kind in schema.values()]
    names = list(schema)
    lengths: list[int] = []
    size = 0
    writer = None
    try:
        for row in rows:
            if writer is None or lengths[-1] == SHARD_ROWS:
                if writer is not None:
                    writer.close()
                path = directory / f"{directory.name}-{split}.array_record-{len(lengths):05d}"
                writer = ArrayRecordWriter(os.fspath(path), options)
                lengths.append(0)
            record = _encode(names, text, row)
            writer.write(record)
            lengths[-1] += 1
            size += len(record)
        if writer is not None:
            writer.close()
        for i in range(len(lengths)):  # the number of shards is known now
            shard = f"{directory.name}-{split}.array_record-{i:05d}"
            (directory / shard).rename(directory / f"{shard}-of-{len(lengths):05d}")
    except RuntimeError as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory)) from error
        if "write() failed" in str(error):
            raise InputError(f"writing {directory} failed: {error}") from error
        raise
    return lengths, size


def _encode(names: list[str], text: list[bool], row: Sequence[Any]) -> bytes:
    example = tf_example_pb2.Example()
    feature = example.features.feature
    for name, is_text, value in zip(names, text, row):
        if is_text:
            feature[name].bytes_list.value.append(value.encode("utf-8", "replace"))
        else:
            feature[name].int64_list.value.append(value)
    return example.SerializeToString()


def describe(directory: PathLike) -> tuple[dict[str, int], list[str]]:
    """Rows per split, and the names of the fields, of a TFDS data set.

    Raises:
      InputError: there is none.
    """
    info = _builder(str(directory)).info
    return {name: split.num_examples for name, split in info.splits.items()}, list(info.features)


def _builder(directory: str) -> Any:
    try:
        return tfds.builder_from_directory(directory)
    except Exception as error:  # tfds raises many kinds
        raise InputError(f"{directory} is not a TFDS data set: {error}") from error


class Records(Sequence[T], Generic[T]):
    """A split as a random-access sequence of ``make(values of the schema's fields)``.

    ``records.rows([5, 2, 5])`` reads many rows at once (about 15 microseconds each, one at a time about
    100) and iteration streams in blocks. Threads may share it. Nothing is opened before the first read.
    """

    def __init__(
        self, directory: PathLike, split: str, schema: Schema, make: Callable[..., T], length: int
    ) -> None:
        self.directory, self.split = str(directory), split
        self._schema, self._make, self._length = dict(schema), make, length

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"Records({self.directory!r}, {self.split!r}, {self._length} rows)"

    @functools.cached_property
    def _raw(self) -> Any:
        source = _builder(self.directory).as_data_source(
            self.split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        if len(source) != self._length:
            raise InputError(
                f"{self.directory} holds {len(source)} rows in {self.split!r}, expected {self._length}"
            )
        return source

    @overload
    def __getitem__(self, key: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, key: slice) -> list[T]: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self.rows(range(*key.indices(self._length)))
        row = operator.index(key)
        if not -self._length <= row < self._length:
            raise IndexError(f"row {row} of {self._length}")
        return self._make(*self._decode(self._raw[row % self._length]))

    def rows(self, rows: Iterable[SupportsIndex]) -> list[T]:
        """The given rows, in the given order."""
        return [self._make(*values) for values in self.values(rows)]

    def values(self, rows: Iterable[SupportsIndex]) -> Iterator[tuple[Any, ...]]:
        """The fields of the given rows as plain tuples."""
        wanted = [operator.index(row) for row in rows]
        for start in range(0, len(wanted), BLOCK):
            for record in self._raw.__getitems__(wanted[start : start + BLOCK]):
                yield self._decode(record)

    def __iter__(self) -> Iterator[T]:
        for values in self.values(range(self._length)):
            yield self._make(*values)

    def _decode(self, record: bytes) -> tuple[Any, ...]:
        feature = tf_example_pb2.Example.FromString(record).features.feature
        return tuple(
            feature[name].bytes_list.value[0].decode("utf-8")
            if kind is str
            else feature[name].int64_list.value[0]
            for name, kind in self._schema.items()
        )
