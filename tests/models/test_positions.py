import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.models.positions import (
    attention_mask,
    position_ids,
    relative_buckets,
    rotary_angles,
    rotate,
)
from tests.models import reference


def test_positions_count_real_tokens():
    mask = jnp.array([[True, True, False], [False, True, True], [False, False, False]])
    assert position_ids(mask).tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]


def test_rotation_keeps_lengths_and_sees_only_distances():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 1, 8)), jnp.float32) for _ in range(2))

    def at(x, position):
        return rotate(x, rotary_angles(jnp.array([[position]]), 8, 100.0))

    np.testing.assert_allclose(jnp.linalg.norm(at(q, 7)), jnp.linalg.norm(q), rtol=1e-6)
    near = jnp.sum(at(q, 3) * at(k, 1))
    np.testing.assert_allclose(near, jnp.sum(at(q, 12) * at(k, 10)), rtol=1e-4)
    assert abs(float(near - jnp.sum(at(q, 5) * at(k, 1)))) > 1e-3


@pytest.mark.parametrize("causal", [False, True])
def test_relative_buckets_follow_the_rule(causal):
    got = np.asarray(relative_buckets(200, 32, 128, causal))
    # At exact powers the float32 logarithm may round to the other side of a bucket's edge.
    edges = {8, 16, 32, 64, 128} if not causal else {16, 32, 64, 128}
    for i, j in ((0, 0), (5, 0), (0, 5), (90, 1), (1, 90), (150, 0), (0, 199), (20, 9), (40, 60)):
        if abs(j - i) not in edges:
            assert got[i, j] == reference.bucket(j - i, 32, 128, causal), (i, j)
    assert int(got.max()) == 31
    assert int(got.min()) == 0


def test_masks():
    real = jnp.array([[True, True, True, False]])
    assert attention_mask(real).shape == (1, 1, 1, 4)
    causal = attention_mask(real, causal=True, window=1)[0, 0].astype(int).tolist()
    assert causal == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]
    local = attention_mask(real, window=1)[0, 0].astype(int).tolist()
    assert local == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]]


def test_angles_are_float32_whatever_the_activations():
    x = jnp.ones((1, 2, 1, 4), jnp.bfloat16)
    angles = rotary_angles(jnp.array([[0, 1000]]), 4, 10_000.0)
    assert angles[0].dtype == jnp.float32
    assert rotate(x, angles).dtype == jnp.bfloat16
    assert jax.tree.all(jax.tree.map(lambda a: bool(jnp.isfinite(a).all()), angles))
