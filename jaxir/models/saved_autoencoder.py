"""A sparse autoencoder on disk: ``manifest.json`` and one .npy file per parameter."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxir.checks import InputError
from jaxir.files import PathLike, fingerprint, new_directory, read_manifest, write_manifest
from jaxir.models.sparse_autoencoder import SparseAutoencoder, sparse_autoencoder
from jaxir.types import Params

KIND = "autoencoder"


class Saved(NamedTuple):
    """A loaded one; ``k`` is what it was trained at."""

    autoencoder: SparseAutoencoder
    params: Params
    k: int
    fingerprint: str
    manifest: dict[str, Any]


def save(
    path: PathLike,
    autoencoder: SparseAutoencoder,
    params: Params,
    *,
    k: int,
    overwrite: bool = False,
    **facts: Any,
) -> None:
    """Writes the directory, whole or not at all.

    Args:
      facts: anything else for the manifest that JSON can write.

    Raises:
      InputError: ``path`` exists, or a parameter is NaN or infinite.
    """
    with new_directory(path, overwrite=overwrite) as work:
        for name, value in params.items():
            array = np.asarray(value, np.float32)
            if not np.isfinite(array).all():
                raise InputError(f"the parameter {name} is not finite: the training diverged")
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            (work / f"{name}.npy").write_bytes(buffer.getvalue())
        write_manifest(work, KIND, **autoencoder._asdict(), k=k, **facts)


def load(path: PathLike) -> Saved:
    """Opens what :func:`save` wrote.

    Raises:
      InputError: not such a directory, a damaged one, or arrays of other sizes than the manifest says.
    """
    manifest = read_manifest(path, KIND, verify=True)
    try:
        made = sparse_autoencoder(
            manifest["dim"], manifest["latents"], tied=manifest["tied"], scale=manifest["scale"]
        )
        k, files = manifest["k"], manifest["files"]
        shapes = {
            "encoder": (made.latents, made.dim),
            "pre_bias": (made.dim,),
            "latent_bias": (made.latents,),
        }
        if not made.tied:
            shapes["decoder"] = shapes["encoder"]
        params = {name: np.load(f"{path}/{name}.npy", allow_pickle=False) for name in shapes}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path} is damaged: its manifest and arrays do not say an autoencoder") from error
    for name, shape in shapes.items():
        if params[name].shape != shape or params[name].dtype != np.float32:
            raise InputError(
                f"{path} is damaged: {name}.npy is {params[name].dtype} {params[name].shape}, "
                f"the manifest says float32 {shape}"
            )
    arrays = {name: jnp.asarray(value) for name, value in params.items()}
    return Saved(made, arrays, k, fingerprint(files), manifest)
