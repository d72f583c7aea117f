"""A work directory -> an exported model with its card."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any

from jaxir.checks import InputError
from jaxir.config import TRUSTED, Allow, build
from jaxir.files import MANIFEST, PathLike, read_json
from jaxir.models import pretrained
from jaxir.models.cut import NAMES
from jaxir.models.pretrained.assembling import with_ids
from jaxir.models.pretrained.card import Figures, model_card
from jaxir.models.pretrained.cutting import cut_spec
from jaxir.models.trained_sizes import describe_size, describe_sizes, size_warning, trained_sizes
from jaxir.training.checkpoint import Model, load_model


def publish(
    workdir: PathLike,
    out: PathLike,
    *,
    to: str = "sentence-transformers",
    step: int | str = "best",
    side: str | None = None,
    layers: int | None = None,
    dims: int | None = None,
    name: str | None = None,
    overwrite: bool = False,
    allow: Allow = TRUSTED,
) -> None:
    """Writes the model of a work directory to ``out``; see :func:`jaxir.models.pretrained.export`.

    The card holds the training data, the config, and the figures of every report in the work directory.

    Args:
      layers: how many blocks the model keeps, dims: how many dimensions, or active terms of a sparse one; see
        :func:`jaxir.models.pretrained.cutting.cut_spec`. None = all.

    Raises:
      InputError: no such model or size, or the format cannot say its encoder.
    """
    model = load_model(workdir, step=step, allow=allow)
    longest = max(model.config["max_length"].values())
    limit = model.encoder.max_length
    max_length = longest if limit is None else min(longest, limit)
    spec, params = {**model.config["encoder"]}, model.params
    spec.setdefault("vocab_size", model.tokenizer.vocab_size)
    encoder, figures, size = model.encoder, _figures(pathlib.Path(workdir)), None
    if layers is not None or dims is not None:
        spec = with_ids(spec, model.tokenizer, allow=allow)
        spec, params = cut_spec(spec, params, layers=layers, dims=dims, allow=allow)
        said = size_warning(model.config, encoder, layers=layers, dims=dims)
        if said:
            warnings.warn(said, stacklevel=2)
        unit, whole = NAMES[encoder.kind], (encoder.layers, encoder.dim)
        size = describe_size((layers or whole[0], dims or whole[1]), whole, unit)
        whole_model = lambda title: "" if "cut to" in title else " (of the whole model)"
        figures = [(f"{title}{whole_model(title)}", runs) for title, runs in figures]
        encoder = build(spec, allow=allow)
    known = trained_sizes(model.config, model.encoder)
    card = model_card(
        name or pathlib.Path(out).name,
        to=to,
        config=model.config if model.step else {},
        step=model.step,
        sources=_sources(model),
        figures=figures,
        dim=encoder.dim,
        max_length=max_length,
        prompts=model.config["prefixes"],
        normalized=encoder.normalized,
        kind=encoder.kind,
        encoder=spec,
        size=size,
        trained_at=describe_sizes(known, NAMES[encoder.kind]) if known else None,
    )
    suffix = model.config["data"].get("pair_suffix")
    pretrained.export(
        out,
        spec,
        params,
        model.tokenizer,
        to=to,
        prompts={**model.config["prefixes"], **({"suffix": suffix} if suffix else {})},
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
