"""Averages and arcs of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.soup import average, slerp


def tree(seed, dtype=jnp.float32):
    a, b = jax.random.split(jax.random.key(seed))
    return {"x": {"w": jax.random.normal(a, (20, 3), dtype)}, "s": jax.random.normal(b, (), dtype)}


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize(
    "weights", [None, [0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0, 1, 2], [1 / 3] * 3], ids=str
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_copies_of_one_model_give_that_model_bit_for_bit(weights, dtype):
    got = average([tree(0, dtype)] * 3, weights)
    same(got, tree(0, dtype))
    assert got["s"].dtype == dtype


def test_the_average_is_the_weighted_mean():
    models = [tree(i) for i in range(3)]
    got = average(iter(models), [1, 2, 5])
    want = sum(w / 8 * np.float64(m["x"]["w"]) for m, w in zip(models, (1, 2, 5)))
    np.testing.assert_allclose(got["x"]["w"], want, rtol=1e-5, atol=1e-6)
    same(average(models[:2], [0, 3]), models[1])
    same(average(models[:2], [3, 0]), models[0])


def test_the_ends_of_an_arc_are_the_models_and_copies_stay():
    a, b = tree(0), tree(1)
    same(slerp(a, b, 0.0), a)
    same(slerp(a, b, 1.0), b)
    for t in (0.0, 0.3, 1.0):
        same(slerp(a, a, t), a)


def test_an_arc_keeps_lengths_and_turns_evenly():
    a, b = (x / np.linalg.norm(x) for x in np.random.default_rng(0).normal(size=(2, 30)).astype(np.float32))
    angle = np.arccos(a @ b)
    for t in (0.25, 0.5, 0.9):
        c = np.asarray(slerp({"w": a}, {"w": b}, t)["w"])
        np.testing.assert_allclose(np.linalg.norm(c), 1, rtol=1e-5)
        np.testing.assert_allclose(np.arccos(a @ c), t * angle, rtol=1e-4)


@pytest.mark.parametrize("b", [[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_parallel_opposite_and_zero_leaves_go_along_the_line(b):
    a, b = jnp.array([1.0, 0.0]), jnp.array(b)
    np.testing.assert_allclose(slerp({"w": a}, {"w": b}, 0.25)["w"], 0.75 * a + 0.25 * b, atol=1e-6)
    np.testing.assert_array_equal(slerp({"w": a}, {"w": b}, 1.0)["w"], b)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average([]), "no model"),
        (lambda: average([tree(0)] * 2, [1.0]), "1 weights were given for 2 models"),
        (lambda: average([tree(0)] * 2, [1, 1, 1]), "3 weights were given for 2 models"),
        (lambda: average([tree(0)] * 2, [0, 0]), "sum to 0"),
        (lambda: average([tree(0)] * 2, [2, -1]), "-1 is negative"),
        (lambda: slerp(tree(0), tree(0), 1.5), "t is 1.5"),
        (
            lambda: average([{"w": np.ones(2, np.float32)}, {"w": np.ones(3, np.float32)}]),
            r"w is \(2,\) and \(3,\)",
        ),
        (lambda: slerp({"w": np.ones(2)}, {"v": np.ones(2)}, 0.5), r"v is absent and \(2,\); w is"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
