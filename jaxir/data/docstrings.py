"""The docstrings and re-exports of Python source files, found with ``ast`` and without importing.

Standard library only, because it also runs as a script in worker processes (parsing 50 MB of source
takes ten seconds on one core): file names on standard input, one JSON object per file on standard
output. A script and not a process pool: forking is unsafe once jax runs threads, and spawning needs
a guard in the caller's own script.
"""

from __future__ import annotations

import ast
import gc
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any


def read_module(path: str) -> dict[str, Any]:
    """What one source file says: ``docs``, ``names``, ``imports`` and ``all``.

    ``docs`` pairs the dotted name inside the module ("" for the module itself) with its docstring;
    ``names`` are the top-level functions and classes; ``imports`` are ``[level, module, name, as]``
    of its top-level ``from ... import``; ``all`` is ``__all__`` where it is a plain list.
    A file that has neither docstrings nor imports, or is not valid Python of this interpreter's
    version, says nothing.
    """
    facts: dict[str, Any] = {"docs": [], "names": [], "imports": [], "all": None}
    facts["package"] = path.endswith("__init__.py")
    with open(path, "rb") as f:
        source = f.read()
    if b'"""' not in source and b"'''" not in source and b"import" not in source:
        return facts
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarnings of other people's escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return facts
    facts["docs"] = list(_docs(tree, ""))
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom):
            facts["imports"] += [[node.level, node.module or "", a.name, a.asname] for a in node.names]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            facts["names"].append(node.name)
        elif isinstance(node, ast.Assign) and _is_all(node):
            facts["all"] = [
                e.value for e in node.value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)
            ]
    return facts


def _is_all(node: Any) -> bool:
    target = node.targets[0]
    return (
        isinstance(target, ast.Name)
        and target.id == "__all__"
        and isinstance(node.value, (ast.List, ast.Tuple))
    )


def _statements(node: Any) -> Iterator[ast.stmt]:
    """Statements at the top level, those under ``if``, ``else`` and ``try`` included."""
    for child in [*node.body, *getattr(node, "orelse", [])]:
        if isinstance(child, (ast.If, ast.Try)):
            yield from _statements(child)
        else:
            yield child


def _docs(node: Any, name: str) -> Iterator[tuple[str, str]]:
    """Docstrings of the node and of the public functions and classes inside it (not in functions)."""
    doc = ast.get_docstring(node)
    if doc:
        yield name, doc
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    for child in _statements(node):
        if isinstance(
            child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ) and not child.name.startswith("_"):
            yield from _docs(child, f"{name}.{child.name}" if name else child.name)


def main() -> None:
    """The worker: paths in, JSON lines out."""
    gc.disable()  # halves the time of ast.parse; the process is short-lived
    for line in sys.stdin:
        print(json.dumps(read_module(line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main()
