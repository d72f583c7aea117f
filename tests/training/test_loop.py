"""The loop: what is called when, one step late, and how it stops."""

import itertools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxir.checks import InputError
from jaxir.objectives import combine
from jaxir.training.log import Log, read_log
from jaxir.training.loop import Collapsed, Diverged, fit, stop_on_sigterm
from jaxir.training.step import State, init_state, make_train_step

from . import toy


def counting(nan_at=None):
    """A step that only counts, with a loss of its own number."""

    def step(state, batch):
        n = state.step + 1
        loss = jnp.where(n == nan_at, jnp.nan, n * 1.0) if nan_at else n * 1.0
        return state._replace(step=n), {"loss": loss, "rank": loss, "gradient_norm": n * 2.0}

    return State(jnp.int32(0), {}, {}), step


def test_stops_where_every_document_of_many_steps_is_all_zero():
    def step(state, batch):
        n = state.step + 1
        return state._replace(step=n), {"loss": n * 1.0, "docs/active": jnp.where(n % 30 < 8, 2.0, 0.0)}

    state = State(jnp.int32(0), {}, {})
    with pytest.raises(Collapsed, match="step 27: no document of the last 20 steps"):
        fit(state, step, range(100), steps=100, progress=False)


def test_logs_averages_and_saves_when_due():
    state, step = counting()
    logged, saved, evaluated = [], [], []

    def evaluate(state):
        evaluated.append(int(state.step))
        return {"MRR@10": 0.5}

    final = fit(
        state,
        step,
        range(100),
        steps=10,
        log_every=4,
        log=lambda step, values: logged.append((step, values)),
        save_every=3,
        save=lambda state, values: saved.append((int(state.step), values)),
        evaluate_every=5,
        evaluate=evaluate,
        progress=False,
    )
    assert int(final.step) == 10
    losses = [(s, v["loss"]) for s, v in logged if "loss" in v]
    assert losses == [(4, 2.5), (8, 6.5), (10, 9.5)]
    assert evaluated == [5, 10]
    measured = {"MRR@10": 0.5}
    assert saved == [(3, {}), (6, measured), (9, {}), (10, measured)]


def test_metrics_are_pulled_one_step_late():
    state, _ = counting()
    order = []

    class Lazy:
        def __init__(self, n):
            self.n = n

        def __array__(self, dtype=None, copy=None):
            order.append(f"pull {self.n}")
            return np.asarray(float(self.n))

    def spy(state, batch):
        n = int(state.step) + 1
        order.append(f"dispatch {n}")
        return state._replace(step=n), {"loss": Lazy(n)}

    fit(state, spy, range(9), steps=3, progress=False)
    assert order == ["dispatch 1", "dispatch 2", "pull 1", "dispatch 3", "pull 2", "pull 3"]


def test_a_nan_stops_with_the_step_the_term_and_the_last_good_checkpoint():
    state, step = counting(nan_at=5)
    saved = []
    with pytest.raises(Diverged, match=r"step 5: rank became nan.*step 4 in here"):
        fit(
            state, step, range(100), steps=10, save_every=4, progress=False,
            save=lambda state, values: saved.append(int(state.step)), last_good=lambda: "step 4 in here",
        )  # fmt: skip
    assert saved == [4]


def test_a_nan_is_never_saved():
    state, step = counting(nan_at=4)
    saved = []
    with pytest.raises(Diverged):
        fit(
            state,
            step,
            range(9),
            steps=9,
            save_every=4,
            save=lambda s, v: saved.append(s),
            progress=False,
        )
    assert saved == []


def test_sigterm_saves_and_stops():
    state, step = counting()
    saved = []

    def batches():
        for i in range(100):
            if i == 6:
                os.kill(os.getpid(), signal.SIGTERM)
            yield i

    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as stop:
        final = fit(
            state,
            step,
            batches(),
            steps=50,
            save=lambda s, v: saved.append(int(s.step)),
            stop=stop,
            progress=False,
        )
    assert int(final.step) == 7
    assert saved == [7]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_falls():
    encoder, objective = (
        toy.encoder(),
        combine(dict(rank=dict(fn="jaxir.losses:softmax", temperature=0.5))),
    )
    tx = optax.adam(3e-2)
    logged = []
    fit(
        init_state(encoder, objective, tx, jax.random.key(0)),
        make_train_step(encoder, objective, tx),
        itertools.repeat(toy.batch(0)),
        steps=20,
        log_every=5,
        log=lambda step, values: logged.append(values["loss"]),
        progress=False,
    )
    assert logged[-1] < 0.8 * logged[0]


def test_the_log_drops_what_a_crash_left_beyond_the_checkpoint(tmp_path):
    with Log(tmp_path) as log:
        for step in (10, 20, 30):
            log.write(step, {"loss": step / 10})
    with (tmp_path / "metrics.jsonl").open("a") as f:
        f.write('{"step": 40, "lo')
    with Log(tmp_path, start=20) as log:
        log.write(30, {"loss": 7.0})
    assert [(x["step"], x["loss"]) for x in read_log(tmp_path)] == [(10, 1.0), (20, 2.0), (30, 7.0)]


def test_tensorboard_is_an_option_with_a_sentence_where_it_is_missing(tmp_path):
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"pip install 'jaxir\[tensorboard\]'"):
            Log(tmp_path, tensorboard=True)
        return
    with Log(tmp_path, tensorboard=True) as log:
        log.write(1, {"loss": 1.0})
    assert list((tmp_path / "tensorboard").glob("events.*"))
