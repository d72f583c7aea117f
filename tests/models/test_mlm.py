import jax
import jax.numpy as jnp
import numpy as np

from jaxir.models.config import TransformerConfig
from jaxir.models.mlm import MlmHead
from tests.models import reference


def test_logits_equal_the_numpy_ones():
    config = TransformerConfig(11, dim=8, heads=2, bias=True, eps=1e-12)
    rng = np.random.default_rng(0)
    hidden, table = rng.normal(size=(2, 3, 8)), rng.normal(size=(11, 8))
    head = MlmHead(config)
    inputs = jnp.asarray(hidden, jnp.float32), jnp.asarray(table, jnp.float32)
    shapes = jax.eval_shape(head.init, jax.random.key(0), *inputs)["params"]
    params = jax.tree.map(lambda x: rng.normal(size=x.shape), shapes)
    got = head.apply({"params": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)}, *inputs)
    x = reference.gelu(reference.linear(hidden, params["transform"]))
    want = reference.layernorm(x, params["norm"], 1e-12) @ table.T + params["bias"]
    assert got.shape == (2, 3, 11)
    np.testing.assert_allclose(got, want, atol=1e-4)
