"""``train(config, workdir)``: a whole run, top to bottom. Started again, it goes on where it was."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import jaxir
from jaxir import processes, trees
from jaxir.checks import InputError
from jaxir.files import PathLike, fingerprint, read_json, write_json
from jaxir.models.pretrained.assembling import CROSS
from jaxir.objectives import combine
from jaxir.training import saving
from jaxir.training.assemble import assemble
from jaxir.training.build import (
    adapted,
    build_data,
    build_encoder,
    build_feed,
    build_idf,
    build_objective,
    build_tokenizer,
    needs_idf,
    packed_groups,
)
from jaxir.training.checkpoint import given_by, load_start
from jaxir.training.defaults import HARMLESS
from jaxir.training.log import Log
from jaxir.training.loop import fit, stop_on_sigterm
from jaxir.training.mesh import check_batch_size, check_mesh, make_mesh, own_rows, shard_batch
from jaxir.training.model import CHECKPOINTS, CONFIG
from jaxir.training.pairs import check_pairs, check_terms_of_pairs
from jaxir.training.sizes import describe, encode_chunk
from jaxir.training.start import begin, check_start, placing, table_of, tables_to_fill
from jaxir.training.step import (
    State,
    averaged,
    init_state,
    is_trained,
)
from jaxir.training.teaching import FINGERPRINT, lacks, with_teacher_of, without_teacher
from jaxir.training.validate import MEASURES, make_validator
from jaxir.training.validate_pairs import make_pair_validator

SOME_IDF = {"idf": np.zeros(1)}


def train(config: Any, workdir: PathLike, *, progress: bool = True) -> State:
    """Trains what ``config`` describes into ``workdir``; resumes from its newest checkpoint.

    Writes config.json, tokenizer.json, metrics.jsonl, data/ and checkpoints/. A run killed at any
    moment and started again with the same config ends with bitwise the same parameters.

    Several processes (:mod:`jaxir.processes`) call it together, with one ``workdir`` that they share. Each
    feeds and saves its part; logs, files and progress are process 0's.

    Raises:
      InputError: a mistake in the config; ``workdir`` holds a run of another config, or cannot be written;
        the processes have different configs.
      Diverged: a loss became NaN.
    """
    config = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    progress = progress and processes.is_first()

    # Everything that can be wrong is looked at before anything slow begins.
    versions = {"jaxir": jaxir.__version__, "jax": jax.__version__}
    processes.check_same("config", {**_flat(_jsonable(config)), **versions})
    workdir = processes.shared_directory(workdir)
    check_mesh(config["mesh"])
    mesh = make_mesh(config["mesh"]["data"], config["mesh"]["fsdp"])
    check_batch_size(config["batch_size"], mesh, accumulate=config["accumulate"])
    if config["steps"] < 1:
        raise InputError(f"steps is {config['steps']}, it must be at least 1")
    measure = config["eval"]["measure"]
    if measure not in MEASURES:
        raise InputError(f"eval.measure is {measure!r}; known: {', '.join(MEASURES)}")
    combine(config["objective"], arrays=SOME_IDF)  # refuses mistakes; the table comes later
    check_start(config)
    rules = config["mesh"]["rules"]
    multi = mesh if mesh.size > 1 else None
    config, model = begin(config, workdir, mesh=multi, rules=rules)
    if config.get("nested"):
        words = config["encoder"].get("vocab_size") or config["tokenizer"]["vocab_size"]
        build_objective(config, build_encoder(config, words), arrays=SOME_IDF)
    if config["encoder"]["fn"] == CROSS:
        check_terms_of_pairs(config["objective"])
    _check_same_run(config, workdir)

    data = build_data(config, workdir, progress=progress)
    tokenizer = build_tokenizer(config, data, workdir, progress=progress)
    encoder = adapted(build_encoder(config, tokenizer), config)
    _check_lengths(config, encoder)
    check_pairs(config, encoder)
    config[FINGERPRINT] = _recorded(workdir, FINGERPRINT)
    student, taught = encoder, with_teacher_of(config, encoder, tokenizer)
    encoder, config[FINGERPRINT] = taught.encoder, taught.fingerprint
    if config.get("encode_chunk") is None:
        config["encode_chunk"] = _recorded(workdir, "encode_chunk")
    chunk = encode_chunk(config, encoder, mesh.size)
    if progress:
        for line in describe(config, encoder, mesh.size, chunk):
            tqdm.write(line)
    config["encode_chunk"] = chunk or 0
    feed = build_feed(
        config,
        data,
        tokenizer,
        rows=own_rows(config["batch_size"], mesh),
        packed=packed_groups(config, encoder, mesh.size, chunk),
    )
    config["fingerprint"] = fingerprint(feed.fingerprint, tokenizer.fingerprint)
    config["prepared"] = [str(p.path) for p, _ in data]
    idf = None
    if needs_idf(config) or tables_to_fill(config, jax.eval_shape(encoder.init, jax.random.key(0))):
        idf = build_idf(config, data, tokenizer, workdir, progress=progress)
    objective = build_objective(config, encoder, arrays={} if idf is None else {"idf": idf})
    processes.check_same("data", {"feed": feed.fingerprint, "tokenizer": tokenizer.fingerprint})
    if processes.is_first():
        write_json(workdir / CONFIG, config)

    steps, key = config["steps"], jax.random.key(config["seed"])
    parts = assemble(config, encoder, objective, multi, chunk=chunk)
    frozen = parts.layout["frozen"]

    every, keep = config["checkpoint"]["every"], config["checkpoint"]["keep"]
    with (
        saving.open_checkpoints(workdir, keep=keep, best=measure) as manager,
        stop_on_sigterm() as stop,
    ):
        like = parts.state
        trees.check_patterns([pattern for pattern, _ in rules], like)
        begins = manager.latest_step() is None
        if lacks(saving.absent(manager, like)):
            model = load_start(config, placing(config, multi, rules))
        given = {} if model is None else given_by(model, config)
        if begins:
            given |= {path: table_of(idf, path, like.params) for path in tables_to_fill(config, like.params)}
        given |= taught.given
        del model, taught  # the state takes over their memory
        state = saving.restore(manager, like, given)
        if state is None:
            state = init_state(encoder, objective, parts.tx, key, given=given, **parts.layout)
        del given
        start = int(state.step)
        if progress and frozen:
            both = trees.split(state.params, is_trained(frozen))
            trained, held = (sum(x.size for x in jax.tree.leaves(part)) for part in both)
            tqdm.write(f"{trained:,} of {trained + held:,} parameters are trained")
        if progress and start:
            tqdm.write(f"going on from step {start} of {steps} in {workdir}")
        validator = None
        if config["eval"]["every"]:
            make = make_pair_validator if encoder.kind == "scores" else make_validator
            validator = make(data[0][0], student, tokenizer, config, multi)

        def evaluate(state: State) -> dict[str, float]:
            values = validator(averaged(state)["encoder"])
            if progress:
                shown = "  ".join(f"{k} {v:.4f}" for k, v in values.items())
                tqdm.write(f"step {int(state.step)}: dev sample  {shown}")
            return values

        meta = {"fingerprint": config["fingerprint"]}

        def save(state: State, values: dict[str, float]) -> None:
            state = without_teacher(state)
            if config["checkpoint"]["trained_only"]:
                state = state._replace(params=trees.split(state.params, is_trained(frozen))[0])
            saving.save(manager, state, meta, values)

        began = time.perf_counter()
        with Log(workdir, start=start, tensorboard=config["log"]["tensorboard"]) as log:

            def write(step: int, values: Mapping[str, float]) -> None:
                rate = float(parts.schedule(step - 1))
                log.write(step, {**values, "learning_rate": rate, "seconds": time.perf_counter() - began})

            state = fit(
                state,
                parts.step,
                _batches(feed, start, multi),
                steps=steps,
                log_every=config["log"]["every"],
                log=write,
                save_every=every,
                save=save,
                evaluate_every=config["eval"]["every"] if validator else 0,
                evaluate=evaluate,
                stop=stop,
                last_good=lambda: _newest(manager),
                examples_per_step=config["batch_size"],
                progress=progress,
            )
        manager.wait_until_finished()
    return state


def _batches(feed: Any, start: int, mesh: Any) -> Iterator[Any]:
    for batch in feed.iterate(start):
        yield batch if mesh is None else shard_batch(batch, mesh)


def _newest(manager: Any) -> str:
    step = manager.latest_step()
    return "none" if step is None else f"step {step} in {manager.directory}"


def _recorded(workdir: pathlib.Path, field: str) -> Any:
    """What the run that began in ``workdir`` decided; None where there is none."""
    path = workdir / CONFIG
    return read_json(path).get(field) if path.is_file() else None


def _check_same_run(config: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """A work directory goes on only with the config it began with."""
    path = workdir / CONFIG
    if not path.is_file() or not (workdir / CHECKPOINTS).is_dir():
        return
    before, now = _flat(read_json(path)), _flat(_jsonable(config))
    free = (*HARMLESS, "fingerprint", "prepared", "start", FINGERPRINT)
    different = [
        key
        for key in sorted(before.keys() | now.keys(), key=lambda key: (not key.startswith("init_"), key))
        if key.split(".")[0] not in free and before.get(key) != now.get(key)
    ]
    if different:
        shown = "; ".join(f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in different[:5])
        raise InputError(f"{workdir} holds a run of another config ({shown}). Choose another --workdir")


def _check_lengths(config: Mapping[str, Any], encoder: Any) -> None:
    longest = max(config["max_length"].values())
    if encoder.max_length is not None and longest > encoder.max_length:
        raise InputError(
            f"max_length is {longest} tokens and the encoder has positions for {encoder.max_length}: "
            "lower max_length or raise the encoder's max_positions"
        )
    if longest > max(config["ladder"]):
        raise InputError(f"max_length {longest} is above the ladder's last step {max(config['ladder'])}")


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out.update(_flat(value, f"{prefix}.{key}" if prefix else key))
    return out


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    return value
