import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.training.autoencoder import (
    Options,
    QueryPairs,
    State,
    batch,
    evaluate,
    make_optimizer,
    make_train_step,
    sparse_autoencoder,
    train,
)
from jaxir.training.loop import Diverged
from jaxir.training.mesh import make_mesh, shard_batch

RNG = np.random.default_rng(0)
# Few directions, each vector a sum of two of them: what a sparse autoencoder finds again.
WORDS = RNG.normal(size=(12, 8))
VECTORS = np.stack([WORDS[RNG.choice(12, 2, replace=False)].sum(0) for _ in range(200)])
VECTORS = (VECTORS + 0.01 * RNG.normal(size=VECTORS.shape)).astype(np.float32)
PAIRS = QueryPairs(VECTORS[:40] + 0.1, np.arange(40), np.arange(40) // 2)
OPTIONS = Options(latents=24, k=3, steps=30, batch_size=16, learning_rate=0.02, aux_k=8, dead_after=3)


def test_a_seed_gives_one_autoencoder_which_explains_more_than_an_untrained_one():
    first, again = (train(VECTORS, OPTIONS, progress=False) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    made = first.autoencoder
    np.testing.assert_allclose(made.scale, 1 / np.sqrt(np.mean(VECTORS.astype(np.float64) ** 2)))
    trained = evaluate(made, first.params, VECTORS, 3)
    start = evaluate(made, made.init(jax.random.key(0)), VECTORS, 3)
    assert start.explained < trained.explained < 1
    codes = np.asarray(jax.jit(lambda p, x: made.encode(p, x, 3))(first.params, VECTORS))
    assert trained.dead == np.sum(~(codes > 0).any(0))
    assert trained.active == pytest.approx((codes > 0).sum(1).mean())
    residual = VECTORS - np.asarray(made.decode(first.params, jnp.asarray(codes)))
    left = np.sum(residual**2) / np.sum((VECTORS - VECTORS.mean(0)) ** 2)
    assert trained.explained == pytest.approx(1 - left, abs=1e-4)


def test_batches_are_functions_of_seed_and_step():
    x, pairs = batch(VECTORS, PAIRS, OPTIONS, 4)
    again = batch(VECTORS, PAIRS, OPTIONS, 4)
    jax.tree.map(np.testing.assert_array_equal, (x, pairs), again)
    assert len(np.unique(x, axis=0)) == len(x)  # no row twice
    assert not np.array_equal(x, batch(VECTORS, PAIRS, OPTIONS, 5)[0])
    assert not np.array_equal(x, batch(VECTORS, PAIRS, dataclasses.replace(OPTIONS, seed=1), 4)[0])
    np.testing.assert_array_equal(pairs.doc, VECTORS[pairs.query_id // 2])
    large = dataclasses.replace(OPTIONS, batch_size=500)
    assert batch(VECTORS, None, large, 0)[0].shape == (500, 8)  # more than there are: some twice


@pytest.mark.parametrize(("paired", "sizes"), [(False, ((2, 1), (4, 2))), (True, ((2, 2),))])
def test_a_step_on_1_2_4_and_8_devices_is_one_step(paired, sizes):
    made = sparse_autoencoder(8, 24, scale=0.5)
    x, pairs = batch(VECTORS, PAIRS if paired else None, OPTIONS, 0)
    found = []
    for mesh in (None, *(make_mesh(*size, jax.devices()[: size[0] * size[1]]) for size in sizes)):
        params = made.init(jax.random.key(1))
        unused = jnp.where(jnp.arange(24) % 3 == 0, 7, 0)  # a third is dead
        state = State(params, make_optimizer(OPTIONS).init(params), unused)
        given = (x, pairs) if mesh is None else shard_batch((x, pairs), mesh)
        found.append(jax.device_get(make_train_step(made, OPTIONS, mesh)(state, *given)))
    (one, one_metrics), others = found[0], found[1:]
    assert one_metrics["dead"] == 8
    for state, metrics in others:
        np.testing.assert_array_equal(state.unused, one.unused)
        for name, value in one_metrics.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
        moments = jax.tree.leaves(state.opt_state)[1:]  # of Adam: the gradient and its square
        for a, b in zip(moments, jax.tree.leaves(one.opt_state)[1:]):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (dict(k=25), "k is 25 and there are 24 latents"),
        (dict(steps=0), "steps is 0"),
        (dict(subspace=9), "rank 9, it must be from 1 to 8"),
    ],
)
def test_options_that_fit_no_autoencoder(change, text):
    with pytest.raises(InputError, match=text):
        train(VECTORS, dataclasses.replace(OPTIONS, **change), progress=False)


def test_pairs_that_do_not_fit_and_vectors_that_are_no_numbers():
    with pytest.raises(InputError, match="queries have 5 dimensions and the vectors 8"):
        train(VECTORS, OPTIONS, pairs=PAIRS._replace(queries=np.ones((3, 5), np.float32)), progress=False)
    none, broken = np.zeros(0, np.int64), np.where(np.arange(200)[:, None] == 7, np.nan, VECTORS)
    with pytest.raises(InputError, match="nothing to pair"):
        train(VECTORS, OPTIONS, pairs=QueryPairs(VECTORS, none, none), progress=False)
    with pytest.raises(InputError, match="no vectors"):
        train(VECTORS[:0], OPTIONS, progress=False)
    with pytest.raises(InputError, match="all vectors are 0"):
        train(0 * VECTORS, OPTIONS, progress=False)
    with pytest.raises(Diverged, match="became nan"):
        train(broken, dataclasses.replace(OPTIONS, scale=1.0, batch_size=200, steps=1), progress=False)
