"""The training loop: flat, top to bottom. All it knows of the model is the step function."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from jaxir import processes
from jaxir.objectives.active import ACTIVE
from jaxir.training.step import State


class Diverged(FloatingPointError):
    """A loss or gradient became NaN or infinite."""


class Collapsed(Diverged):
    """All representations are zero, and no gradient will change that."""


EMPTY_STEPS = 20
"""Steps in a row without an active entry in any document after which a run stops."""


def fit(
    state: State,
    train_step: Callable[[State, Any], tuple[State, dict[str, Any]]],
    batches: Iterable[Any],
    *,
    steps: int,
    log_every: int = 10,
    log: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    save_every: int = 0,
    save: Callable[[State, dict[str, float]], None] = lambda state, values: None,
    evaluate_every: int = 0,
    evaluate: Callable[[State], dict[str, float]] = lambda state: {},
    stop: Callable[[int], bool] = lambda step: False,
    last_good: Callable[[], str] = lambda: "there is no checkpoint",
    examples_per_step: int = 0,
    progress: bool = True,
) -> State:
    """Runs ``train_step`` until ``steps`` optimiser steps are done, from wherever ``state`` is.

    Step N is dispatched before step N-1's metrics are pulled, so that the device never waits for the
    host. Every step's metrics are looked at; before a checkpoint is written the newest are awaited, so
    that a NaN is never saved.

    Args:
      batches: batches from step ``state.step`` on, already on their devices.
      log: gets (steps done, averages since the last call) every ``log_every`` steps.
      save: called every ``save_every`` steps, at the end, and when ``stop`` says so, with the newest
        evaluation ({} if there was none since the last save).
      evaluate: called every ``evaluate_every`` steps and at the end.
      stop: asked after every step; True saves and returns.
      last_good: names the newest checkpoint, for the error.

    Raises:
      Diverged: a metric is not finite; says the step, which terms, and the last good checkpoint.
      Collapsed: sparse representations of documents are all zero for :data:`EMPTY_STEPS` steps.
    """
    done = int(state.step)
    window: list[dict[str, float]] = []
    pending: tuple[int, dict[str, Any]] | None = None
    newest: dict[str, float] = {}
    saved, empty = done, 0
    bar = tqdm(
        total=steps, initial=done, desc="train", unit="step", disable=not progress, mininterval=0.5,
        file=sys.stderr,
    )  # fmt: skip

    def pull() -> None:
        """Reads the newest dispatched step's metrics, which waits for it."""
        nonlocal pending, window, empty
        if pending is None:
            return
        step, metrics = pending
        pending = None
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        _check_finite(step, values, last_good)
        empty = empty + 1 if values.get(ACTIVE["docs"]) == 0 else 0
        if empty == EMPTY_STEPS:
            raise Collapsed(
                f"step {step}: no document of the last {EMPTY_STEPS} steps has an active entry, and zeros "
                "learn nothing. Lower the weights of the sparsity terms (objective.NAME.weight) or lengthen "
                f"their ramp. Last good checkpoint: {last_good()}"
            )
        window.append(values)
        if step % log_every == 0 or step == steps:
            average = {k: sum(v[k] for v in window) / len(window) for k in values}
            window = []
            log(step, average)
            shown = {"loss": f"{average['loss']:.4f}"}
            if examples_per_step and bar.format_dict["rate"]:
                shown["examples/s"] = f"{bar.format_dict['rate'] * examples_per_step:.0f}"
            bar.set_postfix(shown, refresh=False)

    with bar:
        for batch in batches:
            if done >= steps:
                break
            state, metrics = train_step(state, batch)
            done += 1
            pull()  # the previous step's
            pending = (done, metrics)
            bar.update(1)
            if evaluate_every and (done % evaluate_every == 0 or done == steps):
                pull()
                newest = evaluate(state)
                if newest:
                    log(done, newest)
            stopping = stop(done)
            if (save_every and done % save_every == 0) or stopping or done == steps:
                pull()
                save(state, newest)
                saved, newest = done, {}
            if stopping:
                return state
        pull()
        if saved != done:
            save(state, newest)
    return state


def _check_finite(step: int, values: dict[str, float], last_good: Callable[[], str]) -> None:
    bad = [k for k, v in values.items() if not math.isfinite(v)]
    if bad:
        terms = [k for k in bad if k not in ("loss", "gradient_norm")] or bad
        raise Diverged(
            f"step {step}: {', '.join(terms)} became {values[terms[0]]}. Last good checkpoint: "
            f"{last_good()}. Lower the learning rate, lengthen the warm-up, or look at the data of that step"
        )


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[Callable[[int], bool]]:
    """Yields ``stop(step)``, True after a SIGTERM: the loop then saves and the process exits with 0.

    Of several processes any may get it: jax, which then listens to the signal itself, agrees on a step at
    which ``stop`` is True for all.
    """
    if processes.count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    received = False

    def handle(number: int, frame: Any) -> None:
        nonlocal received
        received = True

    try:
        previous = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread (a notebook's worker): nobody sends it SIGTERM
        yield lambda step: False
        return
    try:
        yield lambda step: received
    finally:
        signal.signal(signal.SIGTERM, previous)
