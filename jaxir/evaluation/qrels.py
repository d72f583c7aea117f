"""Relevance judgements from files: TREC's four columns or BEIR's three, plain or gzip."""

from __future__ import annotations

import contextlib
import gzip
import pathlib
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jaxir.checks import InputError
from jaxir.files import PathLike

FORMATS = (
    "TREC qrels have 4 columns (query-id 0 doc-id grade), "
    "BEIR's have 3 with tabs between them (query-id, doc-id, grade)"
)


class _Line(NamedTuple):
    query_id: str
    doc_id: str
    grade: str


def read(path: PathLike) -> dict[str, dict[str, int]]:
    """``{query_id: {doc_id: grade}}`` in file order; grades of 0 and below are kept.

    Raises:
      InputError: missing, not text, empty, JSON, a line with another number of columns, a grade that
        is not a whole number, or a pair judged twice with different grades; with the line's number.
    """
    path = pathlib.Path(path)
    if path.name.removesuffix(".gz").endswith((".json", ".jsonl")):
        raise InputError(f"{path} looks like JSON. {FORMATS}")
    qrels: dict[str, dict[str, int]] = {}
    columns = 0
    for number, line in lines(path):
        if not columns:
            columns = _columns(line, f"{path}, line {number}")
            if columns == 3 and _is_header(line):
                continue
        row = _split(line, columns)
        if row is None:
            raise InputError(f"{path}, line {number}: expected {columns} columns, got {line[:80]!r}")
        grade = _grade(row.grade)
        if grade is None:
            raise InputError(f"{path}, line {number}: the grade is {row.grade!r}, expected a whole number")
        docs = qrels.setdefault(row.query_id, {})
        if docs.setdefault(row.doc_id, grade) != grade:
            raise InputError(
                f"{path}, line {number}: query {row.query_id!r} and document {row.doc_id!r} are "
                f"judged twice, {docs[row.doc_id]} and {grade}"
            )
    if not qrels:
        raise InputError(f"{path} holds no judgement. {FORMATS}")
    return qrels


def lines(path: PathLike) -> Iterator[tuple[int, str]]:
    """The numbered lines that are not blank, without their ends; .gz is unpacked.

    Raises:
      InputError: the file is missing, is not text, or its gzip data is damaged.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    with contextlib.ExitStack() as stack:
        try:
            file: Iterable[str] = stack.enter_context(opened(path, "rt", encoding="utf-8-sig"))
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip data after line {number} ({error})") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text after line {number} ({error.reason})") from error


def _columns(line: str, where: str) -> int:
    if len(line.split("\t")) == 3:
        return 3
    if len(line.split()) == 4:
        return 4
    raise InputError(f"{where}: {line[:80]!r} is neither kind of qrels. {FORMATS}")


def _split(line: str, columns: int) -> _Line | None:
    parts = [part.strip() for part in line.split("\t")] if columns == 3 else line.split()
    if len(parts) != columns or not all(parts):
        return None
    return _Line(parts[0], parts[-2], parts[-1])


def _is_header(line: str) -> bool:
    return _grade(line.split("\t")[2]) is None


def _grade(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None
