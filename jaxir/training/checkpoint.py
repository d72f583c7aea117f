"""Checkpoints of a run, and the model that a work directory holds.

``workdir/checkpoints/STEP/`` has the items ``params``, ``opt_state``, ``ema`` (where there is one)
and ``meta``. Each can be read without the others.
"""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

import jaxir
from jaxir.checks import InputError
from jaxir.config import TRUSTED, Allow
from jaxir.data import tokenizer as tokenizers
from jaxir.files import PathLike, fingerprint, read_json
from jaxir.training.build import build_encoder
from jaxir.training.step import State
from jaxir.types import Encoder, Params

CHECKPOINTS, CONFIG, TOKENIZER = "checkpoints", "config.json", "tokenizer.json"


class Model(NamedTuple):
    """What a trained work directory holds, ready to encode."""

    encoder: Encoder
    params: Params
    tokenizer: tokenizers.Tokenizer
    config: dict[str, Any]
    fingerprint: str
    step: int


def open_checkpoints(workdir: PathLike, *, keep: int = 2, best: str | None = None) -> ocp.CheckpointManager:
    """The manager of ``workdir/checkpoints``: keeps the latest ``keep``, and the best by a measure.

    (orbax's own ``best_fn`` with ``max_to_keep`` deletes the latest step, which a resume needs.)
    """
    path = pathlib.Path(workdir).absolute() / CHECKPOINTS
    keeping: list[Any] = [managers.LatestN(keep)]
    if best:
        keeping.append(
            managers.BestN(
                get_metric_fn=lambda metrics: metrics.get(best, float("-inf")),
                n=1,
                keep_checkpoints_without_metrics=False,
            )
        )
    return ocp.CheckpointManager(
        path,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=managers.AnyPreservationPolicy(keeping),
            # Leftovers of a save that a crash cut short; they are never read, only in the way.
            cleanup_tmp_directories=True,
        ),
    )


def save(
    manager: ocp.CheckpointManager, state: State, meta: dict[str, Any], metrics: dict[str, float]
) -> None:
    """Writes a checkpoint of ``state`` (in the background); the newest evaluation ranks it."""
    step = int(state.step)
    if step in manager.all_steps():
        return
    items = {
        "params": ocp.args.StandardSave(state.params),
        "opt_state": ocp.args.StandardSave(state.opt_state),
        "meta": ocp.args.JsonSave({"step": step, "jaxir": jaxir.__version__, "jax": jax.__version__, **meta}),
    }
    if state.ema is not None:
        items["ema"] = ocp.args.StandardSave(state.ema)
    manager.save(step, args=ocp.args.Composite(**items), metrics=metrics or None)


def restore(manager: ocp.CheckpointManager, like: State) -> State | None:
    """The latest state, laid out as ``like`` (arrays or shapes with shardings); None if there is none.

    Raises:
      InputError: the checkpoint does not fit ``like``, or is damaged.
    """
    step = manager.latest_step()
    if step is None:
        return None
    shapes = jax.tree.map(_abstract, like)
    items = {
        "params": ocp.args.StandardRestore(shapes.params),
        "opt_state": ocp.args.StandardRestore(shapes.opt_state),
    }
    if like.ema is not None:
        items["ema"] = ocp.args.StandardRestore(shapes.ema)
    try:
        out = manager.restore(step, args=ocp.args.Composite(**items))
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise InputError(
            f"the checkpoint of step {step} in {manager.directory} does not fit this config or is damaged: "
            f"{_first_line(error)}"
        ) from error
    at = jax.device_put(jax.numpy.int32(step), like.step.sharding)
    return State(at, out["params"], out["opt_state"], out.get("ema"))


def load_model(
    workdir: PathLike, *, step: int | str = "best", best: str | None = None, allow: Allow = TRUSTED
) -> Model:
    """Encoder, parameters, tokenizer and config of a work directory that ``jaxir train`` wrote.

    Args:
      step: a step number, ``"latest"``, or ``"best"``: the best by the config's measure on the dev
        set where the run evaluated, the latest otherwise.
      allow: packages that the config's import paths may name: it is data, not a program.

    Raises:
      InputError: not a work directory, no (such) checkpoint, a config that names other packages.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / CONFIG).is_file():
        raise InputError(f"{workdir} is not a work directory of jaxir train: it has no {CONFIG}")
    config = read_json(workdir / CONFIG)
    if not (workdir / CHECKPOINTS).is_dir():
        raise InputError(f"{workdir} has no {CHECKPOINTS} yet: was it trained to its first checkpoint?")
    tokenizer = tokenizers.load(workdir / TOKENIZER)
    encoder = build_encoder(config, tokenizer.vocab_size, allow=allow)
    with open_checkpoints(workdir) as manager:
        chosen = _choose(manager, step, best or config.get("eval", {}).get("measure"))
        folder = manager.directory / str(chosen)
    item = "ema" if (folder / "ema").exists() else "params"
    try:
        saved = _read(folder / item)
    except (ValueError, KeyError, OSError) as error:
        raise InputError(
            f"the checkpoint of step {chosen} in {workdir} is damaged: {_first_line(error)}"
        ) from error
    _check_fits(saved["encoder"], jax.eval_shape(encoder.init, jax.random.key(0)), workdir)
    params = saved["encoder"]
    name = fingerprint(config["encoder"], tokenizer.fingerprint, chosen, config.get("fingerprint"), str(item))
    return Model(encoder, params, tokenizer, config, name, chosen)


def _read(folder: Any) -> Any:
    """One item of a checkpoint on this process's first device, whatever mesh it was saved from."""
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    found = ocp.StandardCheckpointHandler().metadata(folder).tree
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), found)
    with ocp.StandardCheckpointer() as reader:
        return reader.restore(folder, shapes)


def _choose(manager: ocp.CheckpointManager, step: int | str, best: str | None) -> int:
    steps = sorted(manager.all_steps())
    if not steps:
        raise InputError(f"{manager.directory} holds no finished checkpoint")
    if isinstance(step, int):
        if step not in steps:
            raise InputError(f"there is no checkpoint of step {step}; there are {steps}")
        return step
    if step == "best" and best:
        measured = {}
        for s in steps:
            metrics = manager.metrics(s)
            if metrics and best in metrics:
                measured[s] = metrics[best]
        if measured:
            return max(measured, key=lambda s: (measured[s], s))
    return steps[-1]


def _check_fits(saved: Any, shapes: Any, workdir: pathlib.Path) -> None:
    def leaves(tree):
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }

    have, want = leaves(saved), leaves(shapes)
    wrong = [n for n in sorted(have.keys() | want.keys()) if have.get(n) != want.get(n)]
    if wrong:
        name = wrong[0]
        raise InputError(
            f"the checkpoint in {workdir} does not fit its config: {name} is {have.get(name)} in the "
            f"checkpoint and {want.get(name)} by the config ({len(wrong)} such arrays)"
        )


def _abstract(x: Any) -> Any:
    if isinstance(x, jax.Array):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    return x


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
