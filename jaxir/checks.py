"""Small checks with errors that say what was given, what was expected and what to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """A mistake of the caller's that one sentence explains. Commands print it and exit with 2."""


def check_shape(name: str, array: Any, expected: tuple[int | None, ...]) -> None:
    """Raises unless ``array.shape`` equals ``expected``, where ``None`` matches any size.

    >>> import numpy as np
    >>> check_shape("labels", np.zeros((2, 3)), (2, None))
    >>> check_shape("labels", np.zeros((2, 3)), (2, 4))
    Traceback (most recent call last):
    ...
    jaxir.checks.InputError: labels has shape (2, 3), expected (2, 4)
    """
    shape = tuple(array.shape)
    if len(shape) != len(expected) or any(e is not None and s != e for s, e in zip(shape, expected)):
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise InputError(f"{name} has shape {shape}, expected ({wanted})")


def check_same_shape(**arrays: Any) -> None:
    """Raises unless all given arrays (those that are not None) have one shape."""
    shapes = {name: tuple(a.shape) for name, a in arrays.items() if a is not None}
    if len(set(shapes.values())) > 1:
        raise InputError(
            "these must have the same shape: "
            + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' for the closest known word, or ''.

    >>> nearest("lerning_rate", ["learning_rate", "steps"])
    " Did you mean 'learning_rate'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def check_known(what: str, word: str, known: Iterable[str]) -> None:
    """Raises when ``word`` is not one of ``known``, suggesting the nearest and listing them."""
    known = list(known)
    if word not in known:
        raise InputError(f"unknown {what} {word!r}.{nearest(word, known)} Known: {', '.join(sorted(known))}")


def check_positive(name: str, value: Any) -> None:
    """Raises unless ``value`` > 0. A traced value passes: its sign is unknown at trace time."""
    if isinstance(value, (int, float)) and not value > 0:
        raise InputError(f"{name} is {value}, it must be above 0")
