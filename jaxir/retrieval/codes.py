"""Dense vectors -> codes of a sparse autoencoder: sparse vectors that any sparse index takes.

Codes are divided by their length, so that dot products are the cosines on which the contrastive term trains.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.sparse import vstack
from tqdm import tqdm

from jaxir import scoring
from jaxir.checks import InputError, check_known, check_positive
from jaxir.files import PathLike, fingerprint, new_directory, write_manifest
from jaxir.models.saved_autoencoder import Saved, load
from jaxir.models.sparse_autoencoder import SparseAutoencoder
from jaxir.retrieval import sparse_vectors, vectors
from jaxir.retrieval.ids import pack_ids, unpack_ids
from jaxir.retrieval.sparse_vectors import SparseRows
from jaxir.retrieval.vectors import open_array, row_blocks, save_array

BLOCK = 2048
"""Vectors encoded at a time."""

KEPT_FACTS = ("side", "model", "model_path", "source")


class Embeddings(NamedTuple):
    """Dense vectors from a directory or a .npy file; row i belongs to ``ids[i]``."""

    path: pathlib.Path
    values: np.ndarray  # [n, d] floats, memory-mapped
    ids: np.ndarray  # [n] bytes; of a .npy file the row numbers
    manifest: dict[str, Any]  # empty of a .npy file


def open_embeddings(path: PathLike, *, progress: bool = False) -> Embeddings:
    """Opens a directory of dense vectors, or a .npy file [n, d] of floats, and reads it through once.

    Raises:
      InputError: neither, an array of another shape or type, no rows, or a row with NaN or infinity.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        opened = vectors.read(path)
        found = Embeddings(path, opened.values, opened.ids, opened.manifest)
    else:
        if not path.is_file():
            raise InputError(f"there is no {path}: give a directory that jaxir encode wrote, or a .npy file")
        values = open_array(path)
        if values.ndim != 2 or values.dtype.kind != "f":
            raise InputError(
                f"{path} holds {values.dtype} {values.shape}, expected floats [n, d]: one row for each text"
            )
        found = Embeddings(path, values, pack_ids(map(str, range(len(values)))), {})
    if not all(found.values.shape):
        raise InputError(f"{path} holds no vectors: its shape is {found.values.shape}")
    bar = tqdm(total=len(found.values), desc="check", unit=" rows", disable=not progress, mininterval=0.5)
    with bar:
        for rows in row_blocks(len(found.values), 1 << 15):
            finite = np.isfinite(found.values[rows]).all(axis=1)
            if not finite.all():
                row = rows.start + int(np.argmin(finite))
                raise InputError(f"row {row} of {path} ({found.ids[row].decode()!r}) has NaN or infinity")
            bar.update(len(finite))
    return found


def encoder_of(
    autoencoder: SparseAutoencoder, params: Any, k: int, *, normalize: bool = True
) -> Callable[[np.ndarray], SparseRows]:
    """``encode(vectors [n, d]) -> codes`` as sparse rows [n, latents], compiled for one shape.

    Raises:
      InputError: a k below 1 or above the latents; when called, vectors of another width.
    """
    check_positive("k", k)
    if k > autoencoder.latents:
        raise InputError(f"k is {k}, the autoencoder has {autoencoder.latents} latents: take at most as many")

    @jax.jit
    def of(x: jax.Array) -> jax.Array:
        codes = autoencoder.encode(params, x, k)
        return scoring.normalize(codes) if normalize else codes

    def encode(values: np.ndarray) -> SparseRows:
        if values.ndim != 2 or values.shape[1] != autoencoder.dim:
            raise InputError(
                f"vectors have the shape {values.shape}, the autoencoder takes {autoencoder.dim} dimensions: "
                "it was trained on vectors of another model"
            )
        parts = []
        for rows in row_blocks(len(values), BLOCK):
            x = values[rows].astype(np.float32)
            missing = (-len(x)) % (BLOCK if len(values) > BLOCK else 64)  # few shapes to compile
            codes = np.asarray(of(np.pad(x, ((0, missing), (0, 0)))))[: len(x)]
            parts.append(sparse_vectors.from_dense(codes))
        return vstack(parts, format="csr") if len(parts) > 1 else parts[0]

    return encode


def encode_codes(
    saved_at: PathLike,
    vectors_at: PathLike,
    out: PathLike,
    *,
    k: int | None = None,
    dtype: str = "float32",
    normalize: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Encodes vectors to a directory of sparse vectors, block by block.

    Args:
      saved_at: what :func:`jaxir.models.saved_autoencoder.save` wrote.
      vectors_at: for :func:`open_embeddings`.
      k: active dimensions; None = those it was trained at.
      normalize: divide codes by their length.

    Raises:
      InputError: what the two refuse, vectors of another model than those it was trained on, a k that
        does not fit, or ``out`` exists.
    """
    check_known("dtype", dtype, vectors.DTYPES)
    saved, found = load(saved_at), open_embeddings(vectors_at, progress=progress)
    _check_same_model(saved, found)
    k = saved.k if k is None else k
    encode = encoder_of(saved.autoencoder, saved.params, k, normalize=normalize)
    n, nnz = len(found.values), 0
    with (
        new_directory(out, overwrite=overwrite) as work,
        tqdm(total=n, desc="encode", unit=" vectors", disable=not progress, mininterval=0.5) as bar,
    ):
        for rows in row_blocks(n, 4 * BLOCK):
            part = sparse_vectors.rounded(encode(found.values[rows]), dtype)
            sparse_vectors.check_weights(part, lambda row, start=rows.start: f"row {start + row}")
            nnz = sparse_vectors.write_rows(work, part, start=rows.start, n=n, nnz=nnz, dtype=dtype)
            bar.update(part.shape[0])
        save_array(work / "ids.npy", found.ids)
        kept = {name: found.manifest[name] for name in KEPT_FACTS if name in found.manifest}
        how = dict(path=os.path.abspath(saved_at), fingerprint=saved.fingerprint, k=k, normalize=normalize)
        settings = {**(found.manifest.get("settings") or {}), "autoencoder": how}
        sizes = dict(n=n, dim=saved.autoencoder.latents, nnz=nnz, dtype=dtype, layout="sparse")
        facts = {"side": "doc", "model": "", "source": None, **kept}
        write_manifest(work, "vectors", **sizes, **facts, normalized=normalize, settings=settings)


def through_autoencoder(
    settings: dict[str, Any] | None, encode: Callable[[Sequence[str]], Any]
) -> Callable[[Sequence[str]], Any]:
    """The query encoder of an index, by its manifest's settings: of codes, the dense one and then the codes.

    Raises:
      InputError: the autoencoder is not where it was, or is another one by now.
    """
    how = (settings or {}).get("autoencoder")
    if how is None:
        return encode
    saved = load(how["path"])
    if saved.fingerprint != how["fingerprint"]:
        raise InputError(
            f"{how['path']} is no longer the autoencoder that encoded the documents: encode and index again"
        )
    codes = encoder_of(saved.autoencoder, saved.params, how["k"], normalize=how["normalize"])
    return lambda texts: codes(np.asarray(encode(texts)))


def pair_rows(
    qrels: Mapping[str, Mapping[str, int]], query_ids: np.ndarray, doc_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries and of their relevant documents (grade above 0), where both have a vector."""
    query_at = {one: row for row, one in enumerate(unpack_ids(query_ids))}
    doc_at = {one: row for row, one in enumerate(unpack_ids(doc_ids))}
    pairs = [
        (query_at[query], doc_at[doc])
        for query, docs in qrels.items()
        for doc, grade in docs.items()
        if grade > 0 and query in query_at and doc in doc_at
    ]
    at = np.array(pairs, np.int64).reshape(-1, 2)
    return at[:, 0], at[:, 1]


def model_of(found: Embeddings) -> str:
    """What tells the vectors of one model from those of another; "" where that is not known."""
    if not found.manifest.get("model"):
        return ""
    settings = {k: v for k, v in (found.manifest.get("settings") or {}).items() if k == "part"}
    return fingerprint(found.manifest["model"], settings)


def _check_same_model(saved: Saved, found: Embeddings) -> None:
    trained, given = saved.manifest.get("vectors_of"), model_of(found)
    if trained and given and trained != given:
        raise InputError(
            f"{found.path} was encoded by another model than the vectors that the autoencoder was trained "
            "on: train one on vectors of this model"
        )
