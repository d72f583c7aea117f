"""Where collections come from: one file per source, each with ``open(argument) -> types.Source``.

A new source is a new file here, or a function of your own named by its import path: no list to edit.
"""

from __future__ import annotations

import importlib
import pkgutil

from jaxir.checks import InputError, nearest
from jaxir.config import Allow, import_path
from jaxir.types import Source


def open_source(spec: str, *, allow: Allow = None) -> Source:
    """Opens ``"NAME"`` or ``"NAME:argument"``, or ``"package.module:function@argument"`` of your own.

    NAME is a file of this folder: ``pydocs``, ``beir:DIR``, ``ir_datasets:NAME``, ``tfds:DIR``. A
    function of your own takes the argument ("" without ``@``) and returns a Source.

    Raises:
      InputError: no such source, or what the source itself refuses.

    >>> open_source("bier:data")
    Traceback (most recent call last):
    ...
    jaxir.checks.InputError: unknown source 'bier:data'. Did you mean 'beir'? Write beir:..., ...
    """
    name, colon, argument = spec.partition(":")
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name in known:
        return importlib.import_module(f"{__name__}.{name}").open(argument)
    path, _, argument = spec.partition("@")
    if colon and "." in name and "/" not in name:
        return import_path(path, allow=allow)(argument)
    raise InputError(
        f"unknown source {spec!r}.{nearest(name, known)} Write {', '.join(f'{n}:...' for n in known)}"
        " or package.module:function@argument; a folder in BEIR layout is beir:FOLDER"
    )
