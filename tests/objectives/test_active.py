import jax
import jax.numpy as jnp
import numpy as np

from jaxir.objectives import combine, count_active
from jaxir.training.step import init_params, make_gradients
from jaxir.types import Encoder, Reps

from ..training import toy


def test_counts_active_entries_of_real_texts_whole_and_in_micro_batches():
    """Each text's vector is that of its first token, with zeros."""
    table = jnp.where(jax.random.uniform(jax.random.key(0), (100, 12)) < 0.3, 1.0, 0.0)
    encoder = Encoder(
        init=lambda key: {"scale": jnp.ones(())},
        encode=lambda params, tokens, *, side, key=None: Reps(params["scale"] * table[tokens.ids[..., 0]]),
        kind="sparse",
        dim=12,
    )
    batch = toy.batch(0, b=8, n=3)
    where = batch.where.copy()
    where[3] = False  # a row of padding
    batch = batch._replace(where=where)
    terms = dict(rank=dict(fn="jaxir.losses:softmax"), sparse=dict(fn="jaxir.losses:flops", on="docs"))
    objective = count_active(combine(terms), start=2)
    params = init_params(encoder, objective, jax.random.key(0))
    found = {}
    for k in (1, 2):
        gradients = jax.jit(make_gradients(encoder, objective, accumulate=k))
        held = jax.tree.map(lambda x: None, params)
        found[k] = gradients(params, held, batch, step=0, key=jax.random.key(0))[1]
    seen = np.asarray(table[np.asarray(batch.docs.ids)[..., 0]] != 0)[..., 2:].sum(-1)
    want = seen[where].mean()
    np.testing.assert_allclose(found[1]["docs/active"], want, rtol=1e-6)
    assert set(found[1]) == set(found[2])
