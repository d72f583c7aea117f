"""From a work directory to its index, and from an index to its model and its texts."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

from jaxir.checks import InputError
from jaxir.data import prepared
from jaxir.files import MANIFEST, PathLike, read_manifest
from jaxir.retrieval.index import EXACT_KINDS, Index
from jaxir.retrieval.model import cut_model

EXACT = tuple(f"index-{kind}" for kind in EXACT_KINDS)


def find_index(workdir: PathLike) -> pathlib.Path:
    """The index of a work directory: ``index``, or the newest that ``jaxir evaluate`` built in it.

    Of indexes of one encoding the exact one comes first.

    Raises:
      InputError: there is none.
    """
    workdir = pathlib.Path(workdir)
    if not workdir.is_dir():
        raise InputError(f"there is no directory {workdir}")
    if (workdir / "index" / MANIFEST).is_file():
        return workdir / "index"
    built = list(workdir.glob(f"retrieval/*/index-*/{MANIFEST}"))
    if not built:
        raise InputError(
            f"{workdir} has no index yet: jaxir encode and jaxir index --out={workdir / 'index'} make one"
        )
    newest = max(built, key=lambda file: file.stat().st_mtime).parents[1]
    of_it = [file.parent for file in newest.glob(f"index-*/{MANIFEST}")]
    return min(of_it, key=lambda path: (path.name not in EXACT, path.name))


def find_model(index_path: PathLike) -> pathlib.Path:
    """Where the model that encoded an index is: a work directory, or a folder of published weights.

    Raises:
      InputError: the manifest names none that exists, and the index lies in none.
    """
    path = pathlib.Path(index_path).absolute()
    named = read_manifest(path, "index").get("model_path")
    if named and any((pathlib.Path(named) / name).is_file() for name in ("config.json", "modules.json")):
        return pathlib.Path(named)
    for folder in path.parents:
        if (folder / "config.json").is_file() and (folder / "checkpoints").is_dir():
            return folder
    raise InputError(
        f"{index_path} does not lead to its model: add --model=..., or --workdir=DIR, where it was trained"
    )


def at_its_size(index: Index, model: Any) -> Any:
    """The model at the size at which the index was encoded; as it is where it has none such."""
    size = (index.manifest.get("settings") or {}).get("size")
    if not size or index.manifest.get("model") == model.fingerprint:
        return model
    with contextlib.suppress(InputError):
        return cut_model(model, layers=size.get("layers"), dims=size.get("dims"), warn=False)
    return model


def check_same_model(index: Index, model: Any) -> None:
    """Raises unless the index holds vectors of this very model: others are not comparable."""
    made_by = index.manifest.get("model")
    if made_by and made_by != model.fingerprint:
        raise InputError(
            f"{index.path} was encoded by another model ({made_by}) than the one that would encode the "
            f"query ({model.fingerprint}): encode and index again, or give the other --model or --workdir"
        )


def open_texts(index: Index) -> Any:
    """The indexed documents with random access by row, or None where they are no longer to be found."""
    source = index.manifest.get("source") or {}
    try:
        found = prepared.load(source["path"])
    except (InputError, KeyError, TypeError):
        return None
    same = found.fingerprint == source.get("fingerprint") and len(found.docs) == index.size
    return found.docs if same else None
