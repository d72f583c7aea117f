"""A grid of training runs: methods, values of their configs' fields, seeds."""

from __future__ import annotations

import itertools
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxir.checks import InputError, check_known
from jaxir.config import load_config, override
from jaxir.evaluation.frontier import FACTS
from jaxir.files import PathLike, fingerprint, read_json
from jaxir.training.defaults import HARMLESS

Setting = tuple[tuple[str, str], ...]
"""((key of the config, value as text), ...)"""


class Method(NamedTuple):
    """A line of the picture: a config and the values that its fields take."""

    name: str
    config: str  # as for jaxir train
    vary: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (key, values); several: all combinations


class Planned(NamedTuple):
    """One run of the grid."""

    method: str
    setting: str  # what is varied, as text; the same for all seeds
    seed: int
    config: str
    overrides: Setting
    workdir: pathlib.Path
    fingerprint: str  # of the whole config
    words: str  # of what decides the vocabulary and its counts, which runs share


def parse_methods(given: Sequence[str], vary: Sequence[str], config: str | None = None) -> list[Method]:
    """The command line's words: ``NAME:CONFIG[:VARIANT]``, and ``[NAME:]KEY=VALUE,VALUE,...``.

    >>> parse_methods(["l0:splade:squad"], ["l0:seed=1,2", "config.steps=9"])
    [Method(name='l0', config='splade:squad', vary=(('seed', ('1', '2')), ('steps', ('9',))))]

    Raises:
      InputError: a malformed word, a method that is named twice or not at all.
    """
    configs: dict[str, str] = {}
    for text in given:
        name, colon, rest = text.partition(":")
        if not colon or not name or not rest:
            raise InputError(f"--method={text} is not NAME:CONFIG, such as --method=flops:splade:squad")
        if name in configs:
            raise InputError(f"two methods are named {name!r}; a line of the picture has one name")
        configs[name] = rest
    if config:
        configs.setdefault(config.partition(":")[0].rpartition("/")[2].removesuffix(".py"), config)
    varied: dict[str, list[tuple[str, tuple[str, ...]]]] = {name: [] for name in configs}
    for text in vary:
        key, equals, values = text.partition("=")
        name, colon, rest = key.partition(":")
        if not equals or not values or (colon and not rest):
            raise InputError(f"--vary={text} is not [METHOD:]KEY=VALUE,VALUE,...")
        if colon:
            check_known("method in --vary", name, configs)
        for one in [name] if colon else configs:
            varied[one].append(((rest if colon else key).removeprefix("config."), split_values(values)))
    return [Method(name, configs[name], tuple(varied[name])) for name in configs]


def split_values(text: str) -> tuple[str, ...]:
    """Values between commas; commas inside of brackets and quotes belong to a value.

    >>> split_values("1e-3,(1, 2),'a,b'")
    ('1e-3', '(1, 2)', "'a,b'")
    """
    parts = re.findall(r"(?:[^,(\[{'\"]|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|'[^']*'|\"[^\"]*\")+", text)
    return tuple(part.strip() for part in parts if part.strip())


def plan(
    methods: Sequence[Method], seeds: Sequence[int], out: PathLike, *, overrides: Setting = ()
) -> list[Planned]:
    """Every run of the grid, those of one seed together, so that a picture of all settings comes early.

    Each config is read and overridden here: a mistake is known before the first run.

    Raises:
      InputError: no method or seed, a mistake in a config, or a directory that holds another run.
    """
    if not methods or not seeds or len(set(seeds)) < len(seeds):
        raise InputError("a grid needs at least one --config or --method, and different --seeds")
    runs = []
    for seed, method in itertools.product(seeds, methods):
        keys = [key for key, _ in method.vary]
        shown = [key for key, values in method.vary if len(values) > 1]
        for values in itertools.product(*(values for _, values in method.vary)):
            setting = tuple(zip(keys, values))
            name = " ".join(f"{_short(key, shown)}={v}" for key, v in setting if key in shown)
            folder = re.sub(
                r"[^A-Za-z0-9=.+-]+", "_", "-".join(filter(None, (method.name, name, f"seed{seed}")))
            )
            changes = (*overrides, *setting, ("seed", str(seed)))
            config = resolved(method.config, changes)
            mark = fingerprint({k: v for k, v in config.items() if k not in HARMLESS})
            workdir = pathlib.Path(out) / "runs" / folder
            marks = mark, fingerprint(*_words(config))
            runs.append(Planned(method.name, name, seed, method.config, changes, workdir, *marks))
    for run in runs:
        _check_same(run)
    if len({run.workdir for run in runs}) < len(runs):
        raise InputError("two runs of the grid would have the same name; give each value once")
    return runs


def resolved(config: str, overrides: Setting) -> dict[str, Any]:
    """The whole config of a run."""
    found = load_config(config)
    for key, text in overrides:
        override(found, key, text)
    return json.loads(json.dumps(found.to_dict(), default=str))


def _words(config: Mapping[str, Any]) -> list[Any]:
    data = {key: config["data"].get(key) for key in ("source", "sources", "doc_text")}
    return [data, config["max_length"]["doc"], *(config.get(k) for k in ("tokenizer", "idf", "init_from"))]


def _short(key: str, among: Sequence[str]) -> str:
    """The end of a key that no other key has, without what all weights are called."""
    parts = key.removesuffix(".weight.peak").removesuffix(".weight").removeprefix("objective.").split(".")
    last = parts[-1]
    return last if sum(last in other.split(".") for other in among) == 1 else ".".join(parts)


def _check_same(run: Planned) -> None:
    file = run.workdir / FACTS
    if file.is_file() and read_json(file).get("fingerprint") != run.fingerprint:
        raise InputError(
            f"{run.workdir} holds a run of another config than {run.config} with these settings; choose "
            "another --out, or delete that directory"
        )
