import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxir.checks import InputError
from jaxir.training.optimizer import make_optimizer, warmup_schedule

PARAMS = {"layer": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}


def test_warm_up_then_decay():
    cosine = warmup_schedule(1.0, 110, warmup=10, decay="cosine")
    np.testing.assert_allclose([cosine(0), cosine(9), cosine(60), cosine(110)], [0.1, 1, 0.5, 0], atol=1e-6)
    linear = warmup_schedule(1.0, 100, warmup=0.1, decay="linear", final=0.5)
    np.testing.assert_allclose([linear(9), linear(55), linear(100)], [1, 0.75, 0.5], atol=1e-6)
    assert warmup_schedule(2.0, 10, warmup=0, decay="constant")(0) == 2.0
    with pytest.raises(InputError, match="Did you mean 'cosine'"):
        warmup_schedule(1.0, 10, decay="cosin")


def test_multipliers_scale_the_learning_rate_whatever_the_optimiser():
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    plain = make_optimizer(lambda t: 0.1, PARAMS)
    scaled = make_optimizer(lambda t: 0.1, PARAMS, lr_multipliers=(("bias", 0.5), (".*", 2.0)))
    a, b = (tx.update(grads, tx.init(PARAMS), PARAMS)[0] for tx in (plain, scaled))
    np.testing.assert_allclose(b["layer"]["bias"], a["layer"]["bias"] * 0.5, rtol=1e-6)
    np.testing.assert_allclose(b["layer"]["kernel"], a["layer"]["kernel"] * 2, rtol=1e-6)


def test_weight_decay_spares_biases_and_norms():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    tx = make_optimizer(lambda t: 0.1, PARAMS, optimizer=dict(fn="optax:adamw", weight_decay=0.5))
    updates, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["layer"]["kernel"], -0.05, rtol=1e-6)
    assert (updates["layer"]["bias"] == 0).all()
    assert (updates["norm"]["scale"] == 0).all()


def test_clipping_is_by_the_norm_of_what_is_trained():
    trained = {"layer": PARAMS["layer"], "norm": {"scale": None}}  # the frozen part is not there
    grads = {"layer": {"kernel": 3 * jnp.ones((2, 2)), "bias": jnp.zeros(2)}, "norm": {"scale": None}}
    tx = make_optimizer(lambda t: 1.0, trained, optimizer=dict(fn="optax:sgd"), clip_norm=1.0)
    updates, _ = tx.update(grads, tx.init(trained), trained)
    np.testing.assert_allclose(updates["layer"]["kernel"], -0.5, rtol=1e-6)


def test_a_regex_that_matches_nothing_is_an_error():
    with pytest.raises(InputError, match=r"matches no parameter.*layer/kernel"):
        make_optimizer(lambda t: 1.0, PARAMS, lr_multipliers=(("kernal", 2.0),))


def test_an_optimiser_by_path():
    tx = make_optimizer(optax.constant_schedule(1.0), PARAMS, optimizer="optax:lion", clip_norm=None)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, PARAMS), tx.init(PARAMS), PARAMS)
    assert (updates["layer"]["bias"] < 0).all()
