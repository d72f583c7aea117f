"""Checkpoints: what is kept, bitwise round trips, other meshes, and directories that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxir.checks import InputError
from jaxir.objectives import combine
from jaxir.training.checkpoint import load_model
from jaxir.training.mesh import make_mesh
from jaxir.training.model import check_workdir
from jaxir.training.saving import open_checkpoints, restore, save
from jaxir.training.step import init_state, state_shapes

from . import toy

MEMORY = dict(fn="jaxir.objectives:running_df")
OBJECTIVE = combine(
    dict(
        rank=dict(fn="jaxir.losses:softmax", temperature=dict(init=0.1)),
        df=dict(fn="jaxir.losses:df_flops", on="docs", memory=MEMORY),
    )
)


def new_state(mesh=None, key=0, ema=True):
    return init_state(toy.encoder(), OBJECTIVE, optax.adam(1e-3), jax.random.key(key), mesh=mesh, ema=ema)


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def at(state, step):
    return state._replace(step=jax.device_put(jnp.int32(step), state.step.sharding))


def test_round_trip_is_bitwise(tmp_path):
    state = at(new_state(), 7)
    state = state._replace(memory=jax.tree.map(lambda x: x + 0.5, state.memory))
    with open_checkpoints(tmp_path) as manager:
        assert restore(manager, new_state(key=1)) is None
        save(manager, state, {"fingerprint": "x"}, {})
    with open_checkpoints(tmp_path) as manager:
        same(restore(manager, new_state(key=1)), state)


def test_a_checkpoint_from_before_there_was_a_memory(tmp_path):
    state = at(new_state(), 2)
    with open_checkpoints(tmp_path) as manager:
        save(manager, state._replace(memory=None), {}, {})
        manager.wait_until_finished()
        assert not (tmp_path / "checkpoints" / "2" / "memory").exists()
        same(restore(manager, state_shapes(toy.encoder(), OBJECTIVE, optax.adam(1e-3), ema=True)), state)


@pytest.mark.parametrize(("before", "after"), [((1, 8), (2, 1)), ((2, 4), (1, 1)), ((1, 1), (2, 4))])
def test_restores_on_another_mesh(tmp_path, before, after):
    state = at(new_state(make_mesh(*before)), 3)
    with open_checkpoints(tmp_path) as manager:
        save(manager, state, {}, {})
        manager.wait_until_finished()
        like = new_state(make_mesh(*after), key=1)
        got = restore(manager, like)
    same(got, state)
    table = got.params["encoder"]["embedding"]
    assert table.sharding == like.params["encoder"]["embedding"].sharding


def test_keeps_the_latest_and_the_best(tmp_path):
    state = new_state(ema=False)
    with open_checkpoints(tmp_path, keep=2, best="MRR@10") as manager:
        for step, measure in ((10, 0.2), (20, 0.5), (30, 0.4), (40, 0.3), (50, None)):
            save(manager, at(state, step), {}, {} if measure is None else {"MRR@10": measure})
        manager.wait_until_finished()
        assert sorted(manager.all_steps()) == [20, 40, 50]
        assert manager.latest_step() == 50


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    state = at(new_state(), 1)
    with open_checkpoints(tmp_path) as manager:
        save(manager, state, {}, {})
        manager.wait_until_finished()
        other = state._replace(params={**state.params, "encoder": {"bias": jnp.zeros(3)}})
        with pytest.raises(InputError, match="does not fit this config or is damaged"):
            restore(manager, other)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    state = at(new_state(), 1)
    with open_checkpoints(tmp_path) as manager:
        save(manager, state, {}, {})
        manager.wait_until_finished()
    for file in (tmp_path / "checkpoints" / "1" / "params").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with open_checkpoints(tmp_path) as manager, pytest.raises(InputError, match="damaged"):
        restore(manager, new_state(key=1))


def test_directories_that_hold_no_model(tmp_path):
    with pytest.raises(InputError, match="holds no model: it is not a work directory"):
        load_model(tmp_path)
    with pytest.raises(InputError, match=r"not a work directory of jaxir train: it has no config\.json"):
        check_workdir(tmp_path)
    with pytest.raises(InputError, match="there is no such directory"):
        check_workdir(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"optimizer": {}}')
    assert check_workdir(tmp_path) == tmp_path
    with pytest.raises(InputError, match="no checkpoints yet"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"published weights.*--model="):
        check_workdir(tmp_path)
