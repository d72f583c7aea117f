"""An encoder beside a frozen one that reads the same texts: a teacher in the same step."""

from __future__ import annotations

from typing import Any

import jax

from jaxir.checks import InputError
from jaxir.types import Array, Encoder, Params, Reps, Tokens

TEACHER = "teacher"
"""Where a teacher's parameters stand among the encoder's."""


def with_teacher(encoder: Encoder, teacher: Encoder) -> Encoder:
    """``encoder``, whose representations carry the ``teacher``'s of the same texts (:attr:`Reps.teacher`).

    Losses that learn from a teacher then see its scores of all in-batch documents, made on the fly (TCT's
    tight coupling, TAS-B's dual supervision). Parameters are ``{**encoder's, "teacher": teacher's}``. The
    teacher runs without dropout and gets no gradient; chunked encoding, micro-batches and meshes treat it as
    the encoder.

    References: Lin et al. 2020 (arXiv:2010.11386); Hofstätter et al. 2021 (arXiv:2104.06967).

    Raises:
      InputError: a teacher that has no vector or weights of terms per text.
    """
    if teacher.kind not in ("dense", "sparse"):
        raise InputError(
            f"the teacher is of kind {teacher.kind!r}; in a step it must give one vector per text (dense or "
            "sparse). Scores of others are written by jaxir score and read from data.negatives_file"
        )

    def init(key: Array) -> Params:
        return {**encoder.init(key), TEACHER: teacher.init(key)}

    def encode(
        params: Params, tokens: Tokens, *, side: str = "query", layers: Any = None, key: Array | None = None
    ) -> Any:
        own = {name: x for name, x in params.items() if name != TEACHER}
        found = encoder.encode(own, tokens, side=side, layers=layers, key=key)
        seen = jax.lax.stop_gradient(teacher.encode(params[TEACHER], tokens, side=side).values)
        taught = lambda reps: reps._replace(teacher=seen)
        return taught(found) if isinstance(found, Reps) else tuple(map(taught, found))

    return encoder._replace(init=init, encode=encode)
