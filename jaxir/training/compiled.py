"""What XLA compiled, kept on disk between processes."""

from __future__ import annotations

import os
import pathlib

import jax

from jaxir.files import PathLike


def keep_compiled(workdir: PathLike) -> None:
    """Keeps what XLA compiles in ``workdir/compiled``: the next process need not compile it again.

    A setting of the whole process, so it is the commands that call it. JAX_COMPILATION_CACHE_DIR goes first.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(workdir) / "compiled"))
