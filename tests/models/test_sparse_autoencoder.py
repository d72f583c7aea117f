import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models import saved_autoencoder
from jaxir.models.sparse_autoencoder import active_subspace, sparse_autoencoder, start_in_subspace, top_k

RNG = np.random.default_rng(0)


def test_codes_are_nested_not_negative_and_at_most_k_with_ties_to_the_lowest_index():
    pre = RNG.integers(-2, 3, (64, 12)).astype(np.float32)  # many ties, rows with few entries above 0
    ks = (1, 3, 11, 12, 40)

    @jax.jit
    def run(pre):
        weights = jnp.arange(1.0, 13)
        gradient = jax.grad(lambda x: jnp.sum(weights * top_k(x, ks)[1]))(pre)
        return top_k(pre, ks), jax.vmap(lambda row: top_k(row, ks)[2])(pre), gradient

    found, by_row, gradient = jax.device_get(run(pre))
    for k, codes in zip(ks, found):
        order = np.argsort(-pre, axis=1, kind="stable")[:, :k]
        expected = np.zeros_like(pre)
        np.put_along_axis(expected, order, np.maximum(np.take_along_axis(pre, order, 1), 0), 1)
        np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(by_row, found[2])
    np.testing.assert_array_equal(gradient, np.arange(1.0, 13) * (found[1] > 0))


def test_top_k_hides_no_nan_and_refuses_k_of_0():
    assert np.isnan(top_k(jnp.array([1.0, jnp.nan, 2.0]), (1,))[0]).any()
    with pytest.raises(InputError, match="k is 0"):
        top_k(jnp.ones(3), (0,))


@pytest.mark.parametrize("tied", [True, False])
def test_an_orthonormal_autoencoder_of_all_latents_loses_nothing(tied):
    made = sparse_autoencoder(6, 6, tied=tied, scale=3.0)
    x = RNG.normal(size=(5, 6)).astype(np.float32)
    rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0].astype(np.float32)
    low = 3 * x @ rotation.T
    params = {
        "encoder": jnp.asarray(rotation),
        "pre_bias": jnp.asarray(low.min(0) @ rotation),  # so that no pre-activation is below 0
        "latent_bias": jnp.zeros(6),
        **({} if tied else {"decoder": jnp.asarray(rotation)}),
    }
    back = jax.jit(lambda p, x: made.decode(p, made.encode(p, x, 6)))(params, x)
    np.testing.assert_allclose(back, x, atol=1e-5)


def test_the_active_subspace_holds_the_latents_and_the_data():
    data = (RNG.normal(size=(50, 3)) @ RNG.normal(size=(3, 8)) + RNG.normal(size=8)).astype(np.float32)
    span = active_subspace(data, 3)
    np.testing.assert_allclose(span.T @ span, np.eye(3), atol=1e-12)
    centred = data - data.mean(0, dtype=np.float64)
    np.testing.assert_allclose(centred @ span @ span.T, centred, atol=1e-5)
    made = sparse_autoencoder(8, 20, tied=False, scale=2.0)
    params = jax.device_get(start_in_subspace(made.init(jax.random.key(0)), made, data, 3))
    for name in ("encoder", "decoder"):
        assert np.linalg.matrix_rank(params[name], tol=1e-4) == 3
        np.testing.assert_allclose(params[name] @ span @ span.T, params[name], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(params[name], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(params["pre_bias"], 2 * data.mean(0), rtol=1e-5)
    with pytest.raises(InputError, match="rank 9, it must be from 1 to 8"):
        active_subspace(data, 9)


def test_what_is_saved_is_loaded_and_a_damaged_directory_is_refused(tmp_path):
    made = sparse_autoencoder(3, 5, tied=False, scale=0.5)
    params = made.init(jax.random.key(0))
    saved_autoencoder.save(tmp_path / "a", made, params, k=2)
    back = saved_autoencoder.load(tmp_path / "a")
    assert (back.autoencoder, back.k) == (made, 2)
    jax.tree.map(np.testing.assert_array_equal, back.params, params)
    file = tmp_path / "a" / "decoder.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"decoder\.npy"):
        saved_autoencoder.load(tmp_path / "a")
    with pytest.raises(InputError, match="latent_bias is not finite"):
        saved_autoencoder.save(tmp_path / "b", made, {**params, "latent_bias": jnp.full(5, jnp.nan)}, k=2)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((0,), "dim is 0"), ((4, 0), "latents is 0"), ((4, 8, float("nan")), "scale is nan")],
)
def test_sizes_that_fit_no_autoencoder(arguments, text):
    with pytest.raises(InputError, match=text):
        sparse_autoencoder(*arguments[:2], scale=(*arguments, 1.0, 1.0)[2] if len(arguments) > 2 else 1.0)
