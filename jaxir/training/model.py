"""A model ready to encode: what a run's work directory, or a folder of published weights, comes to."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

from jaxir.checks import InputError
from jaxir.config import TRUSTED, build
from jaxir.data.tokenizer import Tokenizer
from jaxir.files import PathLike, read_json
from jaxir.models.pretrained import Pretrained
from jaxir.training.defaults import default_config
from jaxir.types import Encoder, Params

CHECKPOINTS, CONFIG, TOKENIZER = "checkpoints", "config.json", "tokenizer.json"
MAX_LENGTH = 512
"""Tokens of a text where a folder names no limit."""


class Model(NamedTuple):
    """Encoder and parameters, with all that turns text into what they expect."""

    encoder: Encoder
    params: Params
    tokenizer: Tokenizer
    config: dict[str, Any]  # the run's; of published weights the default one with the model's facts in it
    fingerprint: str
    step: int  # 0 = not trained here
    path: pathlib.Path | None = None  # what load_model finds it by


def of_pretrained(found: Pretrained) -> Model:
    """A :class:`Model` of published weights.

    Its prompts are the prefixes, its longest input is ``max_length`` (512 tokens where it names none),
    and documents are encoded as in BEIR, title before text. Of a cross-encoder's input, the query has at
    most half.
    """
    encoder = build(found.spec, allow=TRUSTED)
    length = found.max_length or MAX_LENGTH
    config = default_config().to_dict()
    config["name"] = found.path.name
    config["encoder"] = found.spec
    config["tokenizer"] = {"fingerprint": found.tokenizer.fingerprint}
    config["prefixes"] = {"query": found.prompts["query"], "doc": found.prompts["doc"]}
    config["max_length"] = {"query": length, "doc": length}
    config["ladder"] = ladder_to(length, config["ladder"])
    config["data"]["doc_text"] = "title+text"
    if encoder.kind == "scores":  # length is that of query and document together
        config["max_length"]["query"] = max(length // 2, 1)
        config["data"].update(pairs="joined", pair_suffix=found.prompts.get("suffix", ""))
    return Model(encoder, found.params, found.tokenizer, config, found.fingerprint, 0, found.path.absolute())


def ladder_to(length: int, ladder: tuple[int, ...]) -> tuple[int, ...]:
    """The ladder of padded lengths, gone on with to ``length``: two steps for each doubling.

    >>> ladder_to(1600, (256, 384, 512))
    (256, 384, 512, 768, 1024, 1536, 2048)
    """
    steps = list(ladder)
    while steps[-1] < length:
        steps += [steps[-1] * 3 // 2, steps[-1] * 2]
    return tuple(s for s in steps if s < length or s == min(t for t in steps if t >= length))


def is_workdir(path: PathLike) -> bool:
    """Whether ``jaxir train`` began a run there."""
    path = pathlib.Path(path)
    if not (path / CONFIG).is_file():
        return False
    return (path / CHECKPOINTS).is_dir() or "optimizer" in read_json(path / CONFIG)


def check_workdir(path: PathLike) -> pathlib.Path:
    """The path, if a run of ``jaxir train`` is there.

    Raises:
      InputError: there is none; says what is there instead.
    """
    path = pathlib.Path(path)
    if is_workdir(path):
        return path
    sentence = f"{path} is not a work directory of jaxir train: "
    if not path.is_dir():
        raise InputError(sentence + "there is no such directory")
    if any((path / name).is_file() for name in (CONFIG, "modules.json")):
        raise InputError(
            sentence + f"it holds published weights. Name them with --model={path}, and with --workdir=DIR "
            "where the results go"
        )
    raise InputError(
        sentence
        + f"it has no {CONFIG}. Train there, or name a model with --model (a work directory, a folder "
        "of published weights or a name of the Hugging Face Hub)"
    )
