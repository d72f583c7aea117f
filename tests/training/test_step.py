"""The training step: the same parameters whatever the mesh, accumulation, averages, lowering."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxir.checks import InputError
from jaxir.data.padding import packing
from jaxir.models.encoder import transformer
from jaxir.objectives import chunked, combine
from jaxir.training.gradients import make_gradients, make_loss
from jaxir.training.mesh import make_mesh, shard_batch
from jaxir.training.step import State, averaged, init_state, make_train_step
from jaxir.types import Reps

from . import toy

RANK = dict(fn="jaxir.losses:softmax", on="in_batch", temperature=dict(init=0.1))
REGULARISERS = dict(
    flops=dict(fn="jaxir.losses:flops", on="docs", weight=0.1, groups="sum_over_slots"),
    df=dict(
        fn="jaxir.losses:df_flops",
        on="docs",
        alpha=0.6,
        memory=dict(fn="jaxir.objectives:running_df", decay=0.7),
        weight=dict(fn="jaxir.losses:linear_ramp", peak=0.5, steps=10),
    ),
)
OBJECTIVE = combine(dict(rank=RANK, **REGULARISERS))


def run(mesh=None, steps=3, objective=OBJECTIVE, **options):
    encoder = toy.encoder()
    # Plain momentum: Adam divides a gradient that is rounding noise by its own size.
    tx = optax.sgd(0.3, momentum=0.9)
    state = init_state(
        encoder, objective, tx, jax.random.key(0), mesh=mesh, ema=options.get("ema_decay") is not None
    )
    step = make_train_step(encoder, objective, tx, mesh=mesh, **options)
    for batch in toy.batches(count=steps):
        state, metrics = step(state, batch if mesh is None else shard_batch(batch, mesh))
    return state, metrics


@functools.cache
def plainly():
    return run()


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (8, 1), (1, 8), (2, 4)], ids=str)
def test_parameters_and_metrics_do_not_depend_on_the_mesh(shape):
    one, one_metrics = plainly()
    state, metrics = run(make_mesh(*shape))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, (state.params, state.memory), (one.params, one.memory))
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state.memory))
    for name, value in one_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_fsdp_shards_parameters_and_moments():
    state, _ = run(make_mesh(2, 4), steps=1)
    table = state.params["encoder"]["embedding"]
    assert {s.data.shape for s in table.addressable_shards} == {(toy.VOCAB // 4, toy.DIM)}
    moments = [x for x in jax.tree.leaves(state.opt_state) if x.shape == table.shape]
    assert moments
    assert all(m.sharding == table.sharding for m in moments)


def test_accumulation_equals_one_batch_where_negatives_are_the_querys_own():
    listed = combine(dict(rank=dict(fn="jaxir.losses:softmax", on="listed", temperature=0.1)))
    one, four = run(objective=listed)[0], run(objective=listed, accumulate=4)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one.params, four.params)
    with pytest.raises(InputError, match="into 3 micro-batches"):
        run(objective=listed, accumulate=3)


def test_accumulation_over_a_mesh_equals_accumulation_on_one_device():
    one, metrics = run(accumulate=2)
    many, _ = run(make_mesh(4, 1), accumulate=2)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, (one.params, one.memory), (many.params, many.memory))
    # Ramps and memories count optimiser steps.
    np.testing.assert_allclose(metrics["df/weight"], 0.5 * 2 / 10, rtol=1e-6)
    assert one.memory["df"]["batches"] == 3


def test_regularisers_see_the_whole_batch_with_micro_batches():
    """Value, gradient and memory are those without, where the other terms' lists are the query's own."""
    listed = dict(fn="jaxir.losses:softmax", on="listed", temperature=0.1)
    query = dict(fn="jaxir.losses:anti_zero", on="query", weight=20.0)
    objective = combine(dict(rank=listed, query=query, **REGULARISERS))
    with jax.enable_x64(True):
        encoder = sparse(toy.encoder())
        params = {"encoder": encoder.init(jax.random.key(0)), "objective": {}}
        memory = jax.tree.map(lambda x: x + 0.25, objective.memory(toy.DIM))
        how = dict(step=jnp.int32(7), key=jax.random.key(1), memory=memory)
        split = jax.tree.map(lambda x: None, params)

        def of(k, encoder):
            return jax.jit(make_gradients(encoder, objective, accumulate=k))(
                params, split, toy.batch(0), **how
            )

        one, four = of(1, encoder), of(4, chunked(encoder, 3))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), one, four)
        assert np.abs(one[0]["encoder"]["embedding"]).max() > 1e-3


def test_both_passes_over_micro_batches_draw_the_same_noise():
    """The gradient is the slope of the value, which the first pass computes and the second derives."""
    with jax.enable_x64(True):
        encoder, objective = noisy(sparse(toy.encoder())), combine(REGULARISERS)
        gradients = make_gradients(encoder, objective, accumulate=4)
        batch = jax.tree.map(jnp.asarray, toy.batch(0))
        how = dict(step=jnp.int32(9), memory=objective.memory(toy.DIM))

        def value_and_slope(params, key):
            grads, metrics, _ = gradients(params, jax.tree.map(lambda x: None, params), batch, key=key, **how)
            return metrics["loss"], grads

        fn, key = jax.jit(value_and_slope), jax.random.key(1)
        params = {"encoder": encoder.init(jax.random.key(0)), "objective": {}}
        _, slope = fn(params, key)
        there, back = (
            fn(jax.tree.map(lambda x, g, s=s: x + s * g, params, slope), key)[0] for s in (1e-4, -1e-4)
        )
        square = sum(jnp.vdot(g, g) for g in jax.tree.leaves(slope))
        np.testing.assert_allclose((there - back) / 2e-4, square, rtol=1e-4)
        assert fn(params, jax.random.key(2))[0] != fn(params, key)[0]


def sparse(encoder):
    """Its representations without what is below 0."""

    def encode(*arguments, **how):
        return Reps(jax.nn.relu(encoder.encode(*arguments, **how).values))

    return encoder._replace(encode=encode)


def noisy(encoder, size=0.1):
    def encode(params, tokens, *, side, key=None, layers=None):
        values = encoder.encode(params, tokens, side=side).values
        return Reps(values + size * jax.random.normal(key, values.shape) * (values > 0))

    return encoder._replace(encode=encode)


def test_packed_batches_train_the_same_in_micro_batches():
    accumulate = 2
    trunk = dict(layers=1, dim=16, heads=2, ff_dim=24, dropout=0.2, norm="rmsnorm")
    encoder = transformer(toy.VOCAB, **trunk, embedding_norm=False)
    objective = combine(dict(rank=dict(fn="jaxir.losses:softmax", on="in_batch", temperature=0.1)))
    batch = toy.batch(0, b=4)
    lengths = np.random.default_rng(0).integers(1, 7, (4, 2))
    docs = batch.docs._replace(mask=np.arange(6) < lengths[..., None])
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, x.dtype), shapes)
    tx = optax.sgd(0.3)
    step = make_train_step(encoder, objective, tx, accumulate=accumulate)
    results = []
    for packed in (None, packing(lengths, 6, accumulate, step=2)):
        mine = {"encoder": jax.tree.map(jnp.copy, params), "objective": objective.init(jax.random.key(0))}
        state = State(jnp.zeros((), jnp.int32), mine, tx.init(mine))
        state, metrics = step(state, batch._replace(docs=docs._replace(packed=packed)))
        results.append((state.params["encoder"], metrics))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *results)


def test_moving_average_of_the_weights():
    state, _ = run(steps=2, ema_decay=0.9)
    first = run(steps=1)[0].params["encoder"]["bias"]
    second = state.params["encoder"]["bias"]
    start = toy.encoder().init(jax.random.split(jax.random.key(0))[0])["bias"]
    after_one = start * 0.1 + first * 0.9  # decay (1 + 0) / (10 + 0)
    np.testing.assert_allclose(state.ema["encoder"]["bias"], after_one * 2 / 11 + second * 9 / 11, rtol=1e-5)


def test_randomness_comes_from_the_seed_and_the_step_alone():
    encoder = noisy(toy.encoder())
    tx = optax.sgd(1.0)

    def after(first, second, seed=0):
        state = init_state(encoder, OBJECTIVE, tx, jax.random.key(0))
        step = make_train_step(encoder, OBJECTIVE, tx, seed=seed)
        for i in (first, second):
            state, _ = step(state, toy.batch(i))
        return state.params["encoder"]["bias"]

    assert (after(0, 1) == after(0, 1)).all()
    assert (after(0, 1) != after(0, 1, seed=1)).any()


def test_the_step_lowers_for_every_platform():
    encoder, mesh = toy.encoder(), make_mesh(4, 2)
    loss = make_loss(encoder, OBJECTIVE, mesh)
    params = {"encoder": encoder.init(jax.random.key(0)), "objective": OBJECTIVE.init(jax.random.key(0))}
    batch = shard_batch(toy.batch(0), mesh)
    grad = jax.jit(jax.grad(lambda p, b: loss(p, b, step=jnp.int32(0))[0]))
    exported = jax.export.export(grad, platforms=["cpu", "cuda", "tpu"])(params, batch)
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}


@pytest.mark.parametrize("shape", [None, (2, 4)], ids=str)
def test_frozen_leaves_stay_bit_for_bit_and_have_no_state(shape):
    mesh = shape and make_mesh(*shape)
    encoder, tx, frozen = toy.encoder(), optax.adam(0.1), ("embedding",)
    start = {k: np.array(v) for k, v in encoder.init(jax.random.key(5)).items()}  # the step reuses memory
    given = {f"encoder/{k}": jnp.asarray(v) for k, v in start.items()}
    state = init_state(
        encoder, OBJECTIVE, tx, jax.random.key(0), mesh=mesh, ema=True, frozen=frozen, given=given
    )
    assert all(x.shape != (toy.VOCAB, toy.DIM) for x in jax.tree.leaves((state.opt_state, state.ema)))
    step = make_train_step(encoder, OBJECTIVE, tx, mesh=mesh, ema_decay=0.9, frozen=frozen)
    for i in range(2):
        batch = toy.batch(i)
        state, _ = step(state, batch if mesh is None else shard_batch(batch, mesh))
    np.testing.assert_array_equal(state.params["encoder"]["embedding"], start["embedding"])
    assert (np.abs(state.params["encoder"]["bias"] - start["bias"]) > 0).all()
    whole = averaged(state)["encoder"]
    assert whole["embedding"] is state.params["encoder"]["embedding"]
    assert whole["bias"] is state.ema["encoder"]["bias"]


def test_no_gradient_is_computed_for_frozen_leaves():
    encoder, tx = toy.encoder(), optax.sgd(1.0)
    state = init_state(encoder, OBJECTIVE, tx, jax.random.key(0), frozen=("embedding",))

    def largest(frozen):
        """Arrays of the table's size that the step's program makes."""
        step = make_train_step(encoder, OBJECTIVE, tx, frozen=frozen)
        text = step.lower(state, toy.batch(0)).compile().as_text()
        shape = f"f32[{toy.VOCAB},{toy.DIM}]"
        return sum(f"= {shape}" in line and "parameter(" not in line for line in text.splitlines())

    assert largest(()) > 0
    assert largest(("embedding",)) == 0


def test_a_start_that_does_not_fit_and_a_run_that_trains_nothing():
    make = lambda **how: init_state(toy.encoder(), OBJECTIVE, optax.sgd(1.0), jax.random.key(0), **how)
    with pytest.raises(InputError, match=r"2 given.*bias is \(3,\), expected \(64,\); .*no such parameter"):
        make(given={"encoder/bias": jnp.zeros(3), "encoder/b": jnp.zeros(64)})
    with pytest.raises(InputError, match=r"'kernal' matches no parameter.*encoder/bias"):
        make(frozen=("kernal",))
    with pytest.raises(InputError, match="nothing to train"):
        make(frozen=("encoder", "objective"))
    with pytest.raises(InputError, match="not a regular expression"):
        make(frozen=("(",))
