"""Document ids as a numpy array of UTF-8 bytes: compact, memory-mappable, no pickle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jaxir.checks import InputError


def pack_ids(ids: Iterable[str]) -> np.ndarray:
    """An 'S' array of the ids.

    >>> pack_ids(["d1", "naïve"])
    array([b'd1', b'na\\xc3\\xafve'], dtype='|S6')

    Raises:
      InputError: an empty id, or one that ends in a NUL character, which the format cannot hold.
    """
    packed = [i.encode() for i in ids]
    for row, one in enumerate(packed):
        if not one or one.endswith(b"\0"):
            raise InputError(f"the id of row {row} is {one.decode()!r}: ids are non-empty text")
    return np.array(packed, dtype=np.bytes_) if packed else np.zeros(0, "S1")


def unpack_ids(packed: np.ndarray) -> list[str]:
    """The ids as text.

    >>> unpack_ids(pack_ids(["d1", "naïve"]))
    ['d1', 'naïve']
    """
    return [i.decode() for i in packed.tolist()]


def check_unique(ids: Sequence[str] | np.ndarray, what: str) -> None:
    """Raises an InputError that names the first id that occurs twice."""
    ids = np.asarray(ids)
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        twice = values[counts > 1][0]
        name = twice.decode() if isinstance(twice, bytes) else str(twice)
        raise InputError(f"the id {name!r} occurs more than once in {what}; ids must be unique")
