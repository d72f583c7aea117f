"""A work directory -> an exported model with its card."""

from __future__ import annotations

import pathlib
from typing import Any

from jaxir.checks import InputError
from jaxir.config import TRUSTED, Allow
from jaxir.files import MANIFEST, PathLike, read_json
from jaxir.models import pretrained
from jaxir.models.pretrained.card import Figures, model_card
from jaxir.training.checkpoint import Model, load_model


def publish(
    workdir: PathLike,
    out: PathLike,
    *,
    to: str = "sentence-transformers",
    step: int | str = "best",
    side: str | None = None,
    name: str | None = None,
    overwrite: bool = False,
    allow: Allow = TRUSTED,
) -> None:
    """Writes the model of a work directory to ``out``; see :func:`jaxir.models.pretrained.export`.

    The card holds the training data, the config, and the figures of every report in the work directory.

    Raises:
      InputError: no such model, or the format cannot say its encoder.
    """
    model = load_model(workdir, step=step, allow=allow)
    longest = max(model.config["max_length"].values())
    limit = model.encoder.max_length
    max_length = longest if limit is None else min(longest, limit)
    spec = {**model.config["encoder"]}
    spec.setdefault("vocab_size", model.tokenizer.vocab_size)
    card = model_card(
        name or pathlib.Path(out).name,
        to=to,
        config=model.config if model.step else {},
        step=model.step,
        sources=_sources(model),
        figures=_figures(pathlib.Path(workdir)),
        dim=model.encoder.dim,
        max_length=max_length,
        prompts=model.config["prefixes"],
        normalized=model.encoder.normalized,
        kind=model.encoder.kind,
        encoder=spec,
    )
    pretrained.export(
        out,
        spec,
        model.params,
        model.tokenizer,
        to=to,
        prompts=model.config["prefixes"],
        max_length=max_length,
        side=side,
        card=card,
        overwrite=overwrite,
    )


def _sources(model: Model) -> list[str]:
    if not model.step:
        return []
    data = model.config["data"]
    entries = data.get("sources") or [data.get("source")]
    named = [e["source"] if isinstance(e, dict) else e for e in entries]
    return [f"{source}, split {data['split']}" for source in named]


def _figures(workdir: pathlib.Path) -> Figures:
    """The runs of every report that stands in the work directory."""
    found: list[tuple[str, Any]] = []
    for path in sorted(workdir.glob("report*/results.json")):
        try:
            title = read_json(path.parent / MANIFEST).get("title", path.parent.name)
            found.append((title, read_json(path)["runs"]))
        except (InputError, KeyError):  # something else of that name
            continue
    return found
