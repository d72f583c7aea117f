"""The frozen model of ``config.teacher``, whose scores of the batch losses learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxir import trees
from jaxir.checks import InputError
from jaxir.data.tokenizer import Tokenizer
from jaxir.models.taught import TEACHER, with_teacher
from jaxir.training.checkpoint import load_model
from jaxir.training.step import State
from jaxir.types import Array, Encoder

FROZEN = rf"^encoder/{TEACHER}/"
FINGERPRINT = "teacher_fingerprint"


class Taught(NamedTuple):
    """An encoder with its teacher, and the teacher's weights by their paths in a state."""

    encoder: Encoder
    given: dict[str, Array]
    fingerprint: str | None = None


def with_teacher_of(config: Mapping[str, Any], encoder: Encoder, tokenizer: Tokenizer) -> Taught:
    """The encoder with ``config["teacher"]`` beside it, or as it is where there is none.

    Checkpoints never hold the teacher's weights: a run that goes on reads them from where they were, and the
    fingerprint says whether they are the same.

    Raises:
      InputError: no such model; one of another tokenizer or other prefixes (it reads the same tokens); one
        that gives no vector per text; one that has changed since the run began.
    """
    path = config.get("teacher")
    if not path:
        return Taught(encoder, {})
    model = load_model(path)
    if model.tokenizer.fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"the teacher {path} has another tokenizer than this run, and reads the same tokens: begin from "
            "a model of its vocabulary, set tokenizer.path to its tokenizer.json, or write its scores with "
            "jaxir score and read them from data.negatives_file"
        )
    theirs, ours = (dict(c["prefixes"]) for c in (model.config, config))
    if theirs != ours:
        raise InputError(
            f"the teacher {path} reads texts with the prefixes {theirs}, and this run's are {ours}: set "
            "prefixes to the teacher's"
        )
    before = config.get(FINGERPRINT)
    if before and before != model.fingerprint:
        raise InputError(
            f"the teacher {path} has changed since the run began (fingerprint {before}, now "
            f"{model.fingerprint})"
        )
    given = {f"encoder/{TEACHER}/{name}": x for name, x in trees.named(model.params).items()}
    return Taught(with_teacher(encoder, model.encoder), given, model.fingerprint)


def without_teacher(state: State) -> State:
    """The state without the teacher's weights, as it is saved."""
    held = trees.matches((FROZEN,))
    return state._replace(params=trees.split(state.params, lambda name: not held(name))[0])


def lacks(paths: set[str]) -> set[str]:
    """Of the parameters that a checkpoint leaves out, those that are not the teacher's."""
    held: Callable[[str], bool] = trees.matches((FROZEN,))
    return {path for path in paths if not held(path)}
