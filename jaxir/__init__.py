"""jaxir: neural information retrieval in JAX.

``import jaxir`` loads jax and numpy only: losses, negatives and scoring are plain functions of
arrays. Models, data, training, retrieval and evaluation are imported by name when they are needed.
"""

from jaxir import losses, negatives, reduce, scoring, types
from jaxir.checks import InputError
from jaxir.types import Batch, Encoder, Reps, Tokens

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Encoder",
    "InputError",
    "Reps",
    "Tokens",
    "losses",
    "negatives",
    "reduce",
    "scoring",
    "types",
]
