"""Several models -> one, written as a folder."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from jaxir.checks import InputError, check_known
from jaxir.config import TRUSTED, Allow, import_path
from jaxir.files import PathLike
from jaxir.models import pretrained, soup
from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained.card import model_card
from jaxir.training.checkpoint import load_model
from jaxir.training.model import Model
from jaxir.types import Params

METHODS = ("average", "slerp")
# What changes how an encoder is computed, or trained, and not what it computes.
HOW = ("dtype", "remat", "scan", "attention", "dropout", "init", "init_std")
SHOWN = 5


def merge(
    paths: Sequence[PathLike],
    out: PathLike,
    *,
    weights: Sequence[float] | None = None,
    method: str = "average",
    to: str = "jaxir",
    overwrite: bool = False,
    allow: Allow = TRUSTED,
    progress: bool = True,
) -> None:
    """Writes the soup of several models (all that :func:`load_model` takes) to the folder ``out``.

    Args:
      weights: one per model; they are divided by their sum. None = equal.
      method: ``average``, or ``slerp`` of two, at t = the second's weight.
      to: format, as of :func:`jaxir.models.pretrained.export`.

    Raises:
      InputError: fewer than two models, or models that differ in encoder, tokenizer, prefixes or
        shapes: lists the first differences.
    """
    check_known("method", method, METHODS)
    if len(paths) < 2:
        raise InputError(f"{len(paths)} model was given: merging takes two or more")
    if method == "slerp" and len(paths) != 2:
        raise InputError(f"slerp goes from one model to another, and {len(paths)} were given")
    weights = [1.0] * len(paths) if weights is None else list(weights)
    if len(weights) != len(paths):
        raise InputError(f"{len(weights)} weights were given for {len(paths)} models")
    if min(weights) < 0 or not sum(weights):
        raise InputError(f"the weights are {weights}: give 0 or more, and one above 0")
    first = load_model(paths[0], allow=allow)

    def models() -> Iterator[Params]:
        for path in tqdm(paths, desc="merge", unit="model", mininterval=0.5, disable=not progress):
            if path is paths[0]:
                yield first.params
                continue
            model = load_model(path, allow=allow)
            check_alike(first, model, paths[0], path)
            yield model.params

    if method == "average":
        params = soup.average(models(), weights)
    else:
        one, two = models()
        params = soup.slerp(one, two, weights[1] / sum(weights))
    _write(first, params, out, paths, weights, method, to, overwrite)


def check_alike(a: Model, b: Model, name_a: PathLike, name_b: PathLike) -> None:
    """Raises unless two models compute the same function of text and parameters."""
    ours, theirs = facts_of(a), facts_of(b)
    differences = [
        f"{key} is {ours.get(key)!r} and {theirs.get(key)!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]
    if differences:
        more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise InputError(f"{name_a} and {name_b} cannot be merged: " + "; ".join(differences[:SHOWN]) + more)


def facts_of(model: Model) -> dict[str, Any]:
    """What two models must share, defaults filled in, in the form that JSON gives back."""
    spec = model.config["encoder"]
    parameters = inspect.signature(import_path(spec["fn"])).parameters.values()
    facts = {p.name: p.default for p in parameters if p.default is not p.empty}
    if spec["fn"] == pretrained.reading.TRANSFORMER:
        facts |= {
            f.name: f.default
            for f in dataclasses.fields(TransformerConfig)
            if f.default is not dataclasses.MISSING
        }
    facts |= {"vocab_size": model.tokenizer.vocab_size, **spec, "tokenizer": model.tokenizer.fingerprint}
    facts |= {f"prefixes.{side}": text for side, text in model.config["prefixes"].items()}
    return json.loads(json.dumps({k: v for k, v in facts.items() if k not in HOW}, default=str))


def _write(
    first: Model,
    params: Params,
    out: PathLike,
    paths: Sequence[PathLike],
    weights: Sequence[float],
    method: str,
    to: str,
    overwrite: bool,
) -> None:
    longest = max(first.config["max_length"].values())
    limit = first.encoder.max_length
    max_length = longest if limit is None else min(longest, limit)
    prefixes: Mapping[str, str] = first.config["prefixes"]
    card = model_card(
        " + ".join(str(path) for path in paths),
        to=to,
        config={},
        step=0,
        dim=first.encoder.dim,
        max_length=max_length,
        prompts=prefixes,
        normalized=first.encoder.normalized,
        kind=first.encoder.kind,
        encoder=first.config["encoder"],
    )
    lines = "".join(f"- {path}, weight {w / sum(weights):.4g}\n" for path, w in zip(paths, weights))
    pretrained.export(
        out,
        {"vocab_size": first.tokenizer.vocab_size, **first.config["encoder"]},
        params,
        first.tokenizer,
        to=to,
        prompts=prefixes,
        max_length=max_length,
        card=f"{card}\n## Merged from\n\nMethod: {method}.\n\n{lines}",
        overwrite=overwrite,
    )
