"""Under which public name a definition is known: re-exports followed without importing anything.

``scipy/linalg/_basic.py`` defines ``solve``; ``scipy/linalg/__init__.py`` says ``from ._basic import
*``; so its public name is ``scipy.linalg.solve``. Works on the facts of :mod:`jaxir.data.docstrings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Modules = Mapping[str, Mapping[str, Any]]
"""Dotted module name -> what :func:`jaxir.data.docstrings.read_module` says of it."""

Definition = tuple[str, str]  # the defining module, the name in it


def is_public(dotted: str) -> bool:
    """Whether no part of a dotted name begins with an underscore.

    >>> is_public("scipy.linalg.solve"), is_public("scipy.linalg._basic.solve")
    (True, False)
    """
    return not any(part.startswith("_") for part in dotted.split("."))


def public_names(modules: Modules) -> dict[Definition, str]:
    """The shortest public dotted name of every top-level definition that has one.

    A definition in a public module has its own name. A package's ``__init__`` re-exports what it
    imports from inside its package; another public module only what it lists in ``__all__``, imports
    as ``X as X`` or by ``from _private import *``.
    """
    bindings = _bindings(modules)
    names: dict[Definition, str] = {}
    for module in filter(is_public, modules):
        for name in _offered(module, modules, bindings):
            definition = bindings[module][name]
            public = f"{module}.{name}"
            known = names.get(definition, public)
            names[definition] = min(known, public, key=lambda n: (n.count("."), n))
    return names


def _offered(module: str, modules: Modules, bindings: Mapping[str, Any]) -> list[str]:
    """The names of a public module that it offers as its own."""
    facts, known = modules[module], bindings[module]
    offered = set(known) if facts["package"] else {*facts["names"], *(facts["all"] or ())}
    for level, source, name, alias in facts["imports"]:
        target = _target(module, facts["package"], level, source)
        if name == "*" and target in modules and not is_public(target):
            offered |= set(bindings[target])
        elif name == alias:
            offered.add(name)
    return sorted(n for n in offered if n in known and not n.startswith("_"))


def _bindings(modules: Modules) -> dict[str, dict[str, Definition]]:
    """What every name at the top level of every module stands for, where that is known.

    Names travel one import further in every round, until nothing new is learnt.
    """
    bindings = {
        module: {name: (module, name) for name in facts["names"]} for module, facts in modules.items()
    }
    imports = [
        (module, _target(module, facts["package"], level, source), name, alias or name)
        for module, facts in modules.items()
        for level, source, name, alias in facts["imports"]
    ]
    imports = [entry for entry in imports if entry[1] in modules]
    changed = True
    while changed:
        changed = False
        for module, target, name, alias in imports:
            here, there = bindings[module], bindings[target]
            if name == "*":
                names = modules[target]["all"]
                offered = [n for n in (there if names is None else names) if n in there]
                new = {n: there[n] for n in offered if n not in here and not n.startswith("_")}
            else:
                new = {alias: there[name]} if name in there and alias not in here else {}
            here.update(new)
            changed = changed or bool(new)
    return bindings


def _target(module: str, is_package: bool, level: int, source: str) -> str:
    """The absolute name of the module in ``from <level dots><source> import``.

    >>> _target("scipy.linalg", True, 1, "_basic"), _target("scipy.linalg.blas", False, 2, "fft")
    ('scipy.linalg._basic', 'scipy.fft')
    """
    if level == 0:
        return source
    parts = module.split(".")
    base = parts[: len(parts) - level + is_package]
    return ".".join([*base, source] if source else base)
