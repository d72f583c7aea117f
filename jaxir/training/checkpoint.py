"""Models by path: of a work directory that ``jaxir train`` wrote, or published ones."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxir import trees
from jaxir.checks import InputError
from jaxir.config import TRUSTED, Allow
from jaxir.data import tokenizer as tokenizers
from jaxir.files import PathLike, fingerprint, read_json
from jaxir.models import lora, pretrained
from jaxir.models.pretrained.assembling import CROSS
from jaxir.models.pretrained.pretraining import (
    check_arguments,
    completed,
    encoder_spec,
    pretraining_spec,
    read_pretraining,
)
from jaxir.models.pretrained.reading_pairs import check_changes as check_pair_changes
from jaxir.models.pretrained.reading_pairs import cross_encoder_spec
from jaxir.models.pretrained.reading_sparse import sparse_spec
from jaxir.models.pretrained.weights import Shardings
from jaxir.models.sparse import WEIGHTS
from jaxir.models.towers import SIDES
from jaxir.training.build import adapted, build_encoder
from jaxir.training.defaults import HARMLESS
from jaxir.training.model import CHECKPOINTS, CONFIG, TOKENIZER, Model, is_workdir, of_pretrained
from jaxir.training.saving import choose, first_line, open_checkpoints, read_item
from jaxir.types import Array, Encoder


def load_model(
    path: PathLike,
    *,
    step: int | str = "best",
    best: str | None = None,
    allow: Allow = TRUSTED,
    shardings: Shardings | None = None,
    **changes: Any,
) -> Model:
    """Encoder, parameters, tokenizer and config of a model.

    Args:
      path: a work directory of ``jaxir train`` (adapters are merged), a folder of published weights,
        what ``jaxir export`` wrote, or a name of the Hugging Face Hub.
      step: of a work directory: a step number, ``"latest"``, or ``"best"``: the best by the config's
        measure on the dev set where the run evaluated, the latest otherwise.
      allow: packages that a work directory's config may name: it is data, not a program.
      shardings: shapes of the encoder's parameters -> shardings; None = the first device.
      **changes: arguments of the encoder that differ from what is stored: dtype="bfloat16",
        pooling="cls", layers=4, ... A projection that is not there starts at random. ``sparse=dict(...)``
        makes a learned sparse encoder of it, see :func:`jaxir.models.pretrained.read`.
        ``pretraining=dict(...)``, arguments of :func:`jaxir.models.smae.masked_language_model`, makes a
        masked language model of it; without it, such a model is read as the dense encoder that it is for.
        ``cross_encoder=dict(...)`` makes a cross-encoder of it, with a new head.

    Raises:
      InputError: no such model, no (such) checkpoint, a config that names other packages.
    """
    if is_workdir(path):
        return _load_run(pathlib.Path(path), step, best, allow, shardings, changes)
    folder = pathlib.Path(path)
    if folder.is_dir() and not any((folder / name).is_file() for name in (CONFIG, "modules.json")):
        raise InputError(
            f"{folder} holds no model: it is not a work directory of jaxir train ({CONFIG}, {CHECKPOINTS}/) "
            f"and no folder of published weights ({CONFIG}, model.safetensors, {TOKENIZER})"
        )
    how = dict(param_dtype="float32", shardings=shardings, dtype=changes.pop("dtype", None) or "float32")
    masked = changes.pop("pretraining", None)
    if masked is not None:
        return of_pretrained(read_pretraining(path, masked, **how, **changes))
    return of_pretrained(pretrained.read(path, **how, **changes))


def _load_run(
    workdir: pathlib.Path,
    step: int | str,
    best: str | None,
    allow: Allow,
    shardings: Shardings | None,
    changes: Mapping[str, Any],
) -> Model:
    config = read_json(workdir / CONFIG)
    if not (workdir / CHECKPOINTS).is_dir():
        raise InputError(f"{workdir} has no {CHECKPOINTS} yet: was it trained to its first checkpoint?")
    tokenizer = tokenizers.load(workdir / TOKENIZER)
    trained = adapted(build_encoder(config, tokenizer, allow=allow), config)
    spec, given = dict(config["encoder"]), dict(changes)
    sparse, masked = given.pop("sparse", None), given.pop("pretraining", None)
    pairs = given.pop("cross_encoder", None)
    if pairs is not None or spec["fn"] == CROSS:
        check_pair_changes({k: v for k, v in changes.items() if k != "cross_encoder"})
        spec = cross_encoder_spec(spec, pairs or {}, workdir)
    elif masked is not None:
        check_arguments(changes)
        spec = pretraining_spec(spec, masked, workdir)
    else:
        spec = encoder_spec(spec) if sparse is None else sparse_spec(spec, sparse, workdir)
    changed = {**config, "encoder": {**spec, **given}}
    encoder = build_encoder(changed, tokenizer, allow=allow)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    places = trees.named(shardings(shapes) if shardings else _on_first_device(shapes))

    with open_checkpoints(workdir) as manager:
        chosen = choose(manager, step, best or config.get("eval", {}).get("measure"))
        folder = manager.directory / str(chosen)
    place = _places_in_run(places)
    expected = jax.eval_shape(trained.init, jax.random.key(0))
    lacking = lambda: {f"encoder/{name}" for name in trees.named(expected)} - leaves.keys()
    items = [name for name in ("ema", "params") if (folder / name).exists()]
    leaves: dict[str, Array] = {}
    try:
        for item in items:  # the averages, and what has none
            if lacking():
                leaves = {**read_item(folder / item, place), **leaves}
    except (ValueError, KeyError, OSError) as error:
        raise InputError(
            f"the checkpoint of step {chosen} in {workdir} is damaged: {first_line(error)}"
        ) from error
    if "start" in config and lacking():
        leaves = {**given_by(load_start(config, shardings), config), **leaves}
    leaves = {name.removeprefix("encoder/"): x for name, x in leaves.items() if name.startswith("encoder/")}
    _check_fits(leaves, trees.named(expected), workdir)
    params = trees.fill(expected, leaves)
    if config.get("lora", {}).get("rank"):
        params = lora.merge(params, alpha=config["lora"]["alpha"])
    if changes or changed["encoder"]["fn"] != config["encoder"]["fn"]:
        made = "decoder" in params
        params = _cut(params, encoder, shapes, places)
        if masked is not None and not made:
            params = completed(changed["encoder"], {k: x for k, x in params.items() if k != "decoder"})
    facts = {k: v for k, v in changed.items() if k not in (*HARMLESS, "prepared")}
    name = fingerprint(facts, tokenizer.fingerprint, chosen, items[0])
    return Model(encoder, params, tokenizer, changed, name, chosen, workdir.absolute())


def load_start(config: Mapping[str, Any], shardings: Shardings | None = None) -> Model:
    """The model that a run began from, as it was then (``config["start"]``).

    Raises:
      InputError: it is not there any more, or has changed.
    """
    start = config["start"]
    place = start["path"] if pathlib.Path(start["path"]).is_dir() else config["init_from"]
    changes = {k: v for k, v in config["init_with"].items() if v is not None}
    try:
        model = load_model(place, shardings=shardings, **changes)
    except InputError as error:
        raise InputError(
            f"the frozen weights are those of {config['init_from']}, which cannot be read: {error}. "
            f"Its place is start.path in {CONFIG}"
        ) from error
    if model.fingerprint != start["fingerprint"]:
        raise InputError(
            f"{place} has changed since the run began from it (fingerprint {start['fingerprint']}, now "
            f"{model.fingerprint}), and the checkpoints hold the trained parameters only"
        )
    return model


def given_by(model: Model, config: Mapping[str, Any]) -> dict[str, Array]:
    """A model's parameters under the paths that they have in a run that begins from it."""
    prefix = f"encoder/{lora.BASE}" if config.get("lora", {}).get("rank") else "encoder"
    return {f"{prefix}/{name}": x for name, x in trees.named(model.params).items()}


def _cut(params: Any, encoder: Encoder, shapes: Any, places: Mapping[str, Any]) -> Any:
    """The parameters of a changed encoder: of those that were trained, and new ones where it has more."""
    leaves, wanted = trees.named(params), trees.named(shapes)
    same = {}
    for name, x in wanted.items():
        shared = name.partition("/")[2] if name.startswith(SIDES) else name
        if name in leaves and leaves[name].shape == x.shape:
            same[name] = leaves[name]
        elif shared in leaves and leaves[shared].shape == x.shape:  # from one tower to two
            same[name] = jax.device_put(jnp.copy(leaves[shared]), places[name])
    fresh = tuple(wanted.keys() - same.keys())
    new = rf"projection|(^|/)(mlm|decoder)/|^(head|pooler\w*)/|(^|/){WEIGHTS}$"
    unknown = [n for n in fresh if not re.search(new, n)]
    if unknown:
        raise InputError(
            f"the changed encoder has {unknown[0]}, which was not trained; only a projection, a head over "
            "the vocabulary and a table of query weights may be new"
        )
    init = lambda key: {n: x for n, x in trees.named(encoder.init(key)).items() if n in fresh}
    new = jax.jit(init, out_shardings={n: places[n] for n in fresh})(jax.random.key(0)) if fresh else {}
    return trees.fill(shapes, {**same, **new})


def _on_first_device(shapes: Any) -> Any:
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda _: one, shapes)


def _places_in_run(places: Mapping[str, Any]) -> Callable[[str], Any]:
    """Shardings by a run's paths; what is not the encoder's own (adapters) goes to all its devices."""
    other = next(iter(places.values()))
    if isinstance(other, jax.sharding.NamedSharding):
        other = jax.sharding.NamedSharding(other.mesh, jax.sharding.PartitionSpec())
    own = lambda name: name.removeprefix("encoder/").removeprefix(f"{lora.BASE}/")
    return lambda name: places.get(own(name), other)


def _check_fits(saved: Mapping[str, Any], shapes: Mapping[str, Any], workdir: pathlib.Path) -> None:
    have = {name: tuple(x.shape) for name, x in saved.items()}
    want = {name: tuple(x.shape) for name, x in shapes.items()}
    wrong = [n for n in sorted(have.keys() | want.keys()) if have.get(n) != want.get(n)]
    if wrong:
        name = wrong[0]
        raise InputError(
            f"the checkpoint in {workdir} does not fit its config: {name} is {have.get(name)} in the "
            f"checkpoint and {want.get(name)} by the config ({len(wrong)} such arrays)"
        )
