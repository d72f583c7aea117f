"""A run's states on disk, by orbax.

``workdir/checkpoints/STEP/`` has the items ``params``, ``opt_state``, ``ema`` and ``memory`` (where there is
one) and ``meta``. Each can be read without the others. ``params`` may hold the trained parameters only; the
frozen ones are then those of the model that the run began from.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

import jaxir
from jaxir import trees
from jaxir.checks import InputError
from jaxir.files import PathLike
from jaxir.training.model import CHECKPOINTS
from jaxir.training.step import State, zeros
from jaxir.types import Array


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
    if state.memory is not None:
        items["memory"] = ocp.args.StandardSave(state.memory)
    manager.save(step, args=ocp.args.Composite(**items), metrics=metrics or None)


def absent(manager: ocp.CheckpointManager, like: State) -> set[str]:
    """Paths of the parameters that the latest checkpoint leaves out; empty where there is none.

    Raises:
      InputError: it is damaged.
    """
    step = manager.latest_step()
    if step is None:
        return set()
    try:
        saved = trees.named(_metadata(manager.directory / str(step) / "params"))
    except (ValueError, KeyError, OSError) as error:
        raise _unfit(manager, step, error) from error
    return trees.named(like.params).keys() - saved.keys()


def restore(
    manager: ocp.CheckpointManager, like: State, given: Mapping[str, Array] | None = None
) -> State | None:
    """The latest state, laid out as ``like`` (arrays or shapes with shardings); None if there is none.

    Args:
      given: by path, at least the parameters that the checkpoint leaves out (:func:`absent`).

    Raises:
      InputError: the checkpoint does not fit ``like``, or is damaged.
    """
    step = manager.latest_step()
    if step is None:
        return None
    shapes = jax.tree.map(_abstract, like)
    left_out = absent(manager, like)
    try:
        params, _ = trees.split(shapes.params, lambda name: name not in left_out)
        items = {
            "params": ocp.args.StandardRestore(params),
            "opt_state": ocp.args.StandardRestore(shapes.opt_state),
        }
        if like.ema is not None:
            items["ema"] = ocp.args.StandardRestore(shapes.ema)
        if like.memory is not None and (manager.directory / str(step) / "memory").exists():
            items["memory"] = ocp.args.StandardRestore(shapes.memory)
        if left_out - (given or {}).keys():
            raise ValueError(f"it has no {min(left_out)}")
        out = manager.restore(step, args=ocp.args.Composite(**items))
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise _unfit(manager, step, error) from error
    rest = {name: x for name, x in (given or {}).items() if name in left_out}
    params = trees.fill(trees.join(out["params"], like.params), rest)
    at = jax.device_put(jax.numpy.int32(step), like.step.sharding)
    # Of a checkpoint without one: a memory that has seen nothing.
    memory = out.get("memory") or zeros(like.memory)
    return State(at, params, out["opt_state"], out.get("ema"), memory)


def read_item(folder: Any, place: Callable[[str], Any]) -> dict[str, Array]:
    """The parameters in one item of a checkpoint, by path, whatever mesh they were saved from.

    ``place``: path -> sharding.
    """

    def of(name: str, x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place(name))

    with ocp.StandardCheckpointer() as reader:
        return trees.named(reader.restore(folder, trees.map_named(of, _metadata(folder))))


def choose(manager: ocp.CheckpointManager, step: int | str, best: str | None) -> int:
    """The number of a checkpoint: ``step`` itself, the ``"latest"``, or the ``"best"`` by a measure."""
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


def _unfit(manager: ocp.CheckpointManager, step: int, error: BaseException) -> InputError:
    return InputError(
        f"the checkpoint of step {step} in {manager.directory} does not fit this config or is damaged: "
        f"{first_line(error)}"
    )


def _metadata(folder: Any) -> Any:
    return ocp.StandardCheckpointHandler().metadata(folder).tree


def _abstract(x: Any) -> Any:
    if isinstance(x, jax.Array):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    return x


def first_line(error: BaseException) -> str:
    """What an error says, without what follows."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
