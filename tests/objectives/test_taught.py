"""Losses that learn from a frozen encoder in the same step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxir.checks import InputError
from jaxir.models.taught import with_teacher
from jaxir.objectives import chunked, combine
from jaxir.training.gradients import make_gradients, make_loss
from jaxir.training.mesh import make_mesh, shard_batch
from jaxir.types import BatchReps, Reps

from ..training import toy

TERMS = {
    "tct": dict(fn="jaxir.losses:kl_divergence", on="in_batch", teacher_temperature=0.25),
    "tas": dict(fn="jaxir.losses:in_batch_margin_mse", on="in_batch", weight=0.75),
    "own": dict(fn="jaxir.losses:margin_mse", on="listed", weight=0.5),
}


def taught():
    plain = toy.encoder()
    encode = lambda params, tokens, **how: Reps(plain.encode(params, tokens, side="doc").values * 3)
    return with_teacher(plain, plain._replace(encode=encode, normalized=False))


def params():
    return {"encoder": taught().init(jax.random.key(0)), "objective": {}}


def results(mesh=None, chunk=None):
    encoder = taught() if chunk is None else chunked(taught(), chunk, devices=mesh.size)
    loss = make_loss(encoder, combine(TERMS), mesh)
    data = toy.batch(0) if mesh is None else shard_batch(toy.batch(0), mesh)
    fn = jax.jit(jax.value_and_grad(functools.partial(loss, step=0), has_aux=True))
    return jax.device_get(fn(params(), data))


@functools.cache
def on_one_device():
    return results()


def test_the_teachers_scores_of_the_whole_batch_are_those_of_its_vectors():
    (_, metrics), gradients = on_one_device()
    data, held = toy.batch(0), params()["encoder"]
    reps = [taught().encode(held, x, side="doc") for x in (data.query, data.docs)]
    q, d = (np.asarray(r.values, np.float64) for r in reps)
    tq, td = (np.asarray(r.teacher, np.float64) for r in reps)
    assert not np.allclose(q, tq)
    scores = lambda q, d: np.where(seen, q @ d.reshape(-1, d.shape[-1]).T, -np.inf)
    positive = data.doc_id[:, :1]
    first = np.arange(32)[None] == 2 * np.arange(16)[:, None]
    seen = data.where.reshape(1, -1) & (first | (data.doc_id.reshape(1, -1) != positive))
    s, t = log_softmax(scores(q, d), axis=-1), log_softmax(scores(tq, td) / 0.25, axis=-1)
    kl = np.where(seen, np.exp(t) * np.where(seen, t - np.where(seen, s, 0), 0), 0).sum(-1).mean()
    np.testing.assert_allclose(metrics["tct"], kl, rtol=1e-5)
    assert metrics["own/unscored"] == 0
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(gradients["encoder"]["teacher"]))
    assert np.abs(gradients["encoder"]["embedding"]).max() > 1e-3


def test_meshes_and_chunks_change_nothing():
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    jax.tree.map(close, results(make_mesh(2, 4), chunk=1), on_one_device())


def test_micro_batches_keep_the_teacher():
    """With a regulariser, for which representations are encoded before they are derived for."""
    terms = {"own": TERMS["own"], "flops": dict(fn="jaxir.losses:flops", on="docs")}
    whole, halves = (make_gradients(taught(), combine(terms), accumulate=k) for k in (1, 2))
    run = lambda f: jax.jit(
        lambda p, b: f(p, jax.tree.map(lambda x: None, p), b, step=0, key=jax.random.key(0))
    )
    data = toy.batch(0)._replace(where=np.ones((16, 2), bool))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    jax.tree.map(close, run(halves)(params(), data)[0], run(whole)(params(), data)[0])


def test_a_score_that_is_missing_is_masked_and_counted():
    data = jax.tree.map(jnp.asarray, toy.batch(0))
    teacher = jax.random.normal(jax.random.key(0), data.where.shape)
    missing = data.where & (np.arange(16)[:, None] % 4 == 0) & (np.arange(2)[None] == 1)
    reps = [toy.encoder().encode(params()["encoder"], x, side="doc") for x in (data.query, data.docs)]
    objective = combine({"own": TERMS["own"]})
    holes = data._replace(teacher=jnp.where(missing, jnp.nan, teacher))
    value, metrics = objective(BatchReps(*reps), holes)
    without = objective(BatchReps(*reps), data._replace(teacher=teacher, where=data.where & ~missing))[0]
    np.testing.assert_allclose(value, without, rtol=1e-6)
    np.testing.assert_allclose(metrics["own/unscored"], missing.sum() / data.where.sum(), rtol=1e-6)
    assert metrics["own/without_positive"] == 0
    nothing = objective(BatchReps(*reps), data._replace(teacher=teacher, labels=0 * data.labels))[1]
    assert nothing["own/without_positive"] == 1


def test_mistakes():
    plain = toy.encoder()
    with pytest.raises(InputError, match="one vector per text"):
        with_teacher(plain, plain._replace(kind="tokens"))
    loss = make_loss(plain, combine({"tct": TERMS["tct"]}))
    with pytest.raises(InputError, match=r"no file has: set teacher to a model"):
        jax.eval_shape(loss, {"encoder": plain.init(jax.random.key(0)), "objective": {}}, toy.batch(0))
