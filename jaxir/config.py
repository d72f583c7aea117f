"""Configs name things by import path: ``dict(fn="module:name", **its_keyword_arguments)``.

:func:`bind` turns such a dict into a function with those arguments set, :func:`build` also calls it.
A config that the user passes is a program and may name anything that can be imported. A config found
in a checkpoint, an index or a downloaded folder is data: pass ``allow=TRUSTED`` and it can name only
things inside jaxir, optax and rax.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxir.checks import InputError, nearest

TRUSTED = ("jaxir", "optax", "rax")
"""Packages that a config which is data may name."""

Allow = Sequence[str] | None


def import_path(path: str, *, allow: Allow = None) -> Any:
    """The object named by ``"package.module:name"`` (``"package.module:Class.method"`` too).

    Raises:
      InputError: malformed, not importable, no such name, or outside ``allow``.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise InputError(f"{path!r} is not an import path; write 'package.module:name'")
    package = module_name.partition(".")[0]
    if allow is not None and package not in allow:
        raise InputError(
            f"{path!r} comes from a config that is data, not a program, and names a package outside "
            f"{', '.join(allow)}. If you trust where it comes from, add --allow-import={package}"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"cannot import {module_name!r} of {path!r}: {error}") from error
    # A trusted package re-exports other modules (jaxir.config:importlib.import_module): walking
    # through a module attribute would lead out of it.
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            raise InputError(f"{module_name!r} has no {name!r}.{nearest(name, dir(module))}")
        target = getattr(target, part)
        if allow is not None and not _belongs_to(target, allow):
            raise InputError(f"{path!r} leads outside {', '.join(allow)}, and this config is data")
    return target


def _belongs_to(target: Any, allow: Sequence[str]) -> bool:
    if not callable(target):
        return False
    home = getattr(target, "__module__", None) or ""
    return home.partition(".")[0] in allow


def bind(spec: Mapping[str, Any] | str | Callable[..., Any], *, allow: Allow = None) -> Any:
    """``dict(fn="module:name", a=1)`` -> ``functools.partial(name, a=1)``; nested specs are built.

    An argument that is to be a function itself is ``dict(function="module:name", b=2)``, which is not called.

    Keyword names are checked against the function's signature, with the nearest one suggested.

    >>> bind(dict(fn="jaxir.reduce:masked_mean", axis_name=None)).keywords
    {'axis_name': None}
    """
    if callable(spec):
        return spec
    if isinstance(spec, str):
        return import_path(spec, allow=allow)
    if "fn" not in spec:
        raise InputError(f"this part of the config has no 'fn' that says what to call: {dict(spec)}")
    kwargs = {k: _built(v, allow) for k, v in spec.items() if k != "fn"}
    fn = spec["fn"] if callable(spec["fn"]) else import_path(spec["fn"], allow=allow)
    check_keywords(fn, kwargs, spec["fn"])
    return functools.partial(fn, **kwargs)


def build(spec: Mapping[str, Any] | str, *, allow: Allow = None, **more: Any) -> Any:
    """``bind(spec)(**more)``; of ``more``, what the function does not take is an error."""
    fn = bind(spec, allow=allow)
    check_keywords(fn, more, spec if isinstance(spec, str) else spec["fn"])
    return fn(**more)


def is_spec(value: Any) -> bool:
    """Whether ``value`` is a ``dict(fn=...)``."""
    return isinstance(value, Mapping) and "fn" in value


def _built(value: Any, allow: Allow) -> Any:
    if is_spec(value):
        return build(value, allow=allow)
    if isinstance(value, Mapping) and "function" in value:
        return bind(
            {"fn": value["function"], **{k: v for k, v in value.items() if k != "function"}}, allow=allow
        )
    if isinstance(value, Mapping):
        return {k: _built(v, allow) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_built(v, allow) for v in value)
    return value


def accepts(fn: Callable[..., Any], keyword: str) -> bool:
    """Whether ``fn`` takes this keyword argument."""
    parameters = inspect.signature(fn).parameters
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def check_keywords(fn: Callable[..., Any], keywords: Any, name: Any) -> None:
    """Raises an InputError for a keyword that ``fn`` does not take, suggesting the nearest."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [p.name for p in parameters.values() if p.kind is not p.POSITIONAL_ONLY]
    for keyword in keywords:
        if keyword not in known:
            raise InputError(
                f"{name} takes no {keyword!r}.{nearest(keyword, known)} It takes: {', '.join(known)}"
            )


def config_dirs() -> list[pathlib.Path]:
    """Where configs are found by name: ./configs, the checkout's, the installed wheel's copy."""
    package = pathlib.Path(__file__).parent
    candidates = [pathlib.Path("configs"), package.parent / "configs", package / "_configs"]
    return [d for d in candidates if d.is_dir()]


def find_config(name: str) -> pathlib.Path:
    """The file of a config given by path (``my/config.py``) or by name (``dense``)."""
    path = pathlib.Path(name)
    if path.suffix == ".py":
        if path.is_file():
            return path
        raise InputError(f"no config file {name!r}")
    known = {}
    for folder in reversed(config_dirs()):
        known.update({f.stem: f for f in folder.glob("*.py") if not f.stem.startswith("_")})
    if name not in known:
        raise InputError(
            f"no config named {name!r}.{nearest(name, known)} Known: {', '.join(sorted(known))}; "
            "or give the path of a .py file"
        )
    return known[name]


def load_config(name: str) -> Any:
    """The ConfigDict of ``"file.py[:variant]"`` or ``"name[:variant]"``: calls its get_config(variant).

    Raises:
      InputError: no such file, no get_config in it, or an unknown variant.
    """
    name, _, variant = name.partition(":")
    path = find_config(name)
    module = _load_file(path)
    if not hasattr(module, "get_config"):
        raise InputError(f"{path} defines no get_config(variant) function")
    return module.get_config(variant)


def _load_file(path: pathlib.Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"jaxir_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"cannot load {path} as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from error
    return module


def override(config: Any, key: str, text: str) -> None:
    """Sets one field, named by its dotted path, from the text of a command line.

    The text is a Python literal (``3e-4``, ``True``, ``("a", "b")``) or, for a field that holds text,
    the text itself.

    Raises:
      InputError: the config has no such field (the nearest is suggested), or another type of value.
    """
    *parents, name = key.split(".")
    target = config
    for part in parents:
        target = target[part] if hasattr(target, "keys") and part in target else None
    if target is None or not hasattr(target, "keys") or name not in target:
        raise InputError(f"the config has no field {key!r}.{nearest(key, _fields(config))}")
    old = target[name]
    value: Any = text
    if not isinstance(old, str):
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text)
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    try:
        target[name] = value
    except TypeError as error:
        raise InputError(f"{key} is {old!r}, a {type(old).__name__}; {text!r} is not") from error


def _fields(config: Any, prefix: str = "") -> list[str]:
    names = []
    for name in config:
        names.append(prefix + name)
        if hasattr(config[name], "keys"):
            names += _fields(config[name], f"{prefix}{name}.")
    return names


def variants_of(variant: str, known: Sequence[str]) -> set[str]:
    """For a config's get_config: the names in ``"squad,smoke"``, each checked; '' is the plain config.

    >>> sorted(variants_of("squad,smoke", ["squad", "smoke"]))
    ['smoke', 'squad']
    """
    names = {name for name in variant.split(",") if name}
    for name in sorted(names):
        if name not in known:
            raise InputError(f"unknown variant {name!r}.{nearest(name, known)} Known: {', '.join(known)}")
    return names
