"""Lines of text files, plain or .gz, with errors that say which file and which line."""

from __future__ import annotations

import gzip
import json
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

from jaxir.checks import InputError


def lines(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """("FILE, line N", text) of every line that is not blank; the file is streamed.

    Raises:
      InputError: text that is not UTF-8, or a damaged .gz, with the line.
    """
    number = 0
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as f:
            for number, raw in enumerate(f, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield f"{path}, line {number}", line
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8 text ({error})") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged after line {number} ({error})") from error


def json_object(where: str, line: str) -> dict[str, Any]:
    """The JSON object that the line holds.

    Raises:
      InputError: not JSON, or JSON of another kind.
    """
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {line[:60]!r}")
    return value


def id_of(where: str, record: dict[str, Any], field: str) -> str:
    """An id: a text, or a whole number taken as text."""
    found = record.get(field)
    if isinstance(found, bool) or not isinstance(found, (str, int)) or found == "":
        raise InputError(f"{where}: expected {field!r} to be a text that is not empty, found {found!r}")
    return str(found)


def text_of(where: str, record: dict[str, Any], field: str) -> str:
    """A text, which may be empty."""
    found = record.get(field)
    if not isinstance(found, str):
        raise InputError(f"{where}: expected {field!r} to be a text, found {found!r}")
    return found
