"""Parameter trees by path: the leaf at tree["layers_0"]["query"]["kernel"] is "layers_0/query/kernel".

A part of a tree is the same tree with None, which jax takes for no leaf at all, in place of the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from jaxir.checks import InputError

SHOWN = 12


def named(tree: Any) -> dict[str, Any]:
    """Every leaf under its path.

    >>> named({"a": {"b": 1}, "c": (2, None)})
    {'a/b': 1, 'c/0': 2}
    """
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_named(fn: Callable[[str, Any], Any], tree: Any) -> Any:
    """The tree with ``fn(path, leaf)`` in place of each leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: fn(_name(path), leaf), tree)


def split(tree: Any, chosen: Callable[[str], bool]) -> tuple[Any, Any]:
    """The part whose paths are ``chosen``, and the rest.

    >>> split({"a": 1, "b": 2}, lambda path: path == "a")
    ({'a': 1, 'b': None}, {'a': None, 'b': 2})
    """
    part = map_named(lambda name, leaf: leaf if chosen(name) else None, tree)
    return part, map_named(lambda name, leaf: None if chosen(name) else leaf, tree)


def join(part: Any, rest: Any) -> Any:
    """The tree with the leaves of ``part``, and those of ``rest`` where it has none.

    >>> join({"a": 1, "b": None}, {"a": None, "b": 2})
    {'a': 1, 'b': 2}
    """
    return jax.tree.map(lambda a, b: b if a is None else a, part, rest, is_leaf=lambda x: x is None)


def fill(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """The tree with those of its leaves replaced that ``leaves`` names."""
    return map_named(lambda name, leaf: leaves.get(name, leaf), tree)


def matches(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether one of the regexes is found in a path, as a function of the path."""
    compiled = [re.compile(p) for p in patterns]
    return lambda name: any(p.search(name) for p in compiled)


def check_patterns(patterns: Iterable[str], tree: Any) -> None:
    """Raises for a regex that is none, or that matches no path: a typing error would go unnoticed."""
    names = sorted(named(tree))
    for pattern in patterns:
        try:
            found = any(re.search(pattern, name) for name in names)
        except re.error as error:
            raise InputError(f"{pattern!r} is not a regular expression: {error}") from error
        if not found:
            more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise InputError(
                f"the path regex {pattern!r} matches no parameter. Parameters: "
                + ", ".join(names[:SHOWN])
                + more
            )


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
