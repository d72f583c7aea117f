"""Where a run begins: ``init_from`` names a model whose encoder, weights and tokenizer it takes over."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxir import processes, trees
from jaxir.checks import InputError
from jaxir.files import read_json
from jaxir.models import lora
from jaxir.models.pretrained.assembling import SMAE
from jaxir.models.pretrained.weights import Shardings
from jaxir.models.sparse import WEIGHTS
from jaxir.models.taught import TEACHER
from jaxir.training.checkpoint import load_model
from jaxir.training.mesh import Rules, param_shardings
from jaxir.training.model import CHECKPOINTS, CONFIG, TOKENIZER, Model

Config = dict[str, Any]


def check_start(config: Mapping[str, Any]) -> None:
    """Raises for options about a start, adapters and frozen weights that make no sense together."""
    _check_pretraining(config)
    adapters = config["lora"]["rank"]
    changes = [k for k, v in config["init_with"].items() if v is not None]
    if not config["init_from"]:
        if adapters:
            raise InputError(
                f"lora.rank is {adapters} and there is no init_from: adapters on frozen random weights learn "
                "little. Set init_from, or lora.rank=0"
            )
        if changes:
            raise InputError(
                f"init_with.{changes[0]} changes the model of init_from, and there is none: set init_from, "
                f"or encoder.{changes[0]}"
            )
        if config["checkpoint"]["trained_only"]:
            raise InputError(
                "checkpoint.trained_only leaves out the frozen weights, which only a run with init_from can "
                "read again: set init_from, or checkpoint.trained_only=False"
            )
    head = "head/kernel"
    if adapters and "cross_encoder" in changes and not trees.matches(config["lora"].get("trained", ()))(head):
        raise InputError(
            "init_with.cross_encoder has a new head, which would stay random, since lora freezes all "
            "weights: add lora.trained=('head', 'pooler')"
        )
    new = "projection/kernel"
    if adapters and "projection" in changes and not trees.matches(config["lora"].get("trained", ()))(new):
        raise InputError(
            "init_with.projection is new and would stay random, since lora freezes all weights: add "
            "lora.trained=('projection',)"
        )


def _check_pretraining(config: Mapping[str, Any]) -> None:
    """Raises for what needs representations, where a run has the losses of hidden tokens instead."""
    if config["encoder"]["fn"] != SMAE and config["init_with"].get("pretraining") is None:
        return
    if config["eval"]["every"]:
        raise InputError(
            f"eval.every is {config['eval']['every']}, and masked pre-training has no retrieval to measure: "
            "set eval.every=0. The loss of the log is that of documents before they are learned from"
        )
    if config.get("nested"):
        raise InputError("nested is for representations; the sizes of masked pre-training are encoder.sizes")


def begin(
    config: Config, workdir: pathlib.Path, *, mesh: Mesh | None = None, rules: Rules = ()
) -> tuple[Config, Model | None]:
    """The config with what ``init_from`` decides filled in, and the model of a run that begins now.

    A run that goes on reads no weights: what it began with stands in its work directory.
    """
    if not config["init_from"]:
        return config, None
    before = _begun(workdir)
    if before is not None:
        return _filled(config, before) if "start" in before else config, None
    changes = {k: v for k, v in config["init_with"].items() if v is not None}
    model = load_model(config["init_from"], shardings=placing(config, mesh, rules), **changes)
    if processes.is_first():
        model.tokenizer.save(workdir / TOKENIZER)
    start = {
        "path": str(model.path),
        "fingerprint": model.fingerprint,
        "prefixes": dict(model.config["prefixes"]),
    }
    tokenizer = {"fingerprint": model.tokenizer.fingerprint}
    record = {"encoder": model.config["encoder"], "tokenizer": tokenizer, "start": start}
    return _filled(config, record), model


def placing(config: Mapping[str, Any], mesh: Mesh | None, rules: Rules) -> Shardings | None:
    """Where the encoder's own weights lie in this run, as a function of their shapes."""
    if mesh is None:
        return None
    nest = [*([lora.BASE] if config["lora"]["rank"] else []), "encoder", "params"]

    def place(shapes: Any) -> Any:
        for name in nest:
            shapes = {name: shapes}
        places = param_shardings(shapes, mesh, rules=rules)
        for name in reversed(nest):
            places = places[name]
        return places

    return place


def frozen_paths(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Path regexes of what this run leaves as it is."""
    own = tuple(config["optimizer"]["frozen"])
    if config.get("teacher"):
        own = (*own, rf"^encoder/{TEACHER}/")
    adapters = config["lora"]
    return (*own, lora.frozen(adapters.get("trained", ()))) if adapters["rank"] else own


def tables_to_fill(config: Mapping[str, Any], params: Any) -> list[str]:
    """Paths of the parameters that begin as inverse document frequencies: what weighs a query's tokens.

    A sparse model that the run begins from keeps its own, unless ``init_with.sparse`` asks for a table.
    """
    if config["init_from"] and (config["init_with"].get("sparse") or {}).get("query") != "table":
        return []
    return [path for path in trees.named(params) if path.rpartition("/")[2] == WEIGHTS]


def table_of(idf: np.ndarray, path: str, params: Any) -> jax.Array:
    """IDF as the parameter ``path``; rows of an embedding that no token has weigh 0."""
    rows = trees.named(params)[path].shape[0]
    return jnp.asarray(np.pad(idf, (0, rows - len(idf))))


def _begun(workdir: pathlib.Path) -> Config | None:
    """The config of the run in ``workdir``, if it has come to a checkpoint."""
    steps = [p for p in (workdir / CHECKPOINTS).glob("*") if p.name.isdigit()]
    return read_json(workdir / CONFIG) if steps and (workdir / CONFIG).is_file() else None


def _filled(config: Config, record: Mapping[str, Any]) -> Config:
    prefixes = {
        side: given or record["start"]["prefixes"][side] for side, given in config["prefixes"].items()
    }
    decided = {key: record[key] for key in ("encoder", "tokenizer", "start")}
    return {**config, **decided, "prefixes": prefixes}
