"""What a check found."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    level: Literal["ok", "warn", "fail"]  # checked and right | deserves a look | certainly wrong
    check: str
    message: str  # what was measured, with the number
    what_to_do: str = ""
