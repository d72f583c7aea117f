"""A cross-encoder's scores: of joined pairs, with their token types, whatever stands at padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.cross_encoder import cross_encoder
from jaxir.objectives import chunked
from jaxir.types import Tokens
from tests.models import tiny

SEP = 3
PAIRS = tiny.texts([2, 7, SEP, 8, 9, SEP], [2, 7, 8, SEP, 9, SEP], [2, 5, SEP, 6, SEP], [2, 9, SEP, 6, SEP])


@pytest.fixture(scope="module")
def made():
    encoder = cross_encoder(tiny.V, **tiny.TRUNK, token_types=2, sep_id=SEP, dropout=0.5)
    return encoder, tiny.draw(encoder)


def test_scores_of_pairs(made):
    encoder, params = made
    assert (encoder.kind, encoder.dim) == ("scores", 1)
    lists = Tokens(*(x.reshape(2, 2, -1) for x in PAIRS[:2]))
    longer = Tokens(*(np.pad(x, [(0, 0), (0, 3)]) for x in PAIRS[:2]))
    packed = np.flatnonzero(PAIRS.mask)[None].astype(np.int32)

    @jax.jit
    def every(params):
        score = lambda tokens, **how: encoder.encode(params, tokens, side="doc", **how).values
        untyped = cross_encoder(tiny.V, **tiny.TRUNK, token_types=2, sep_id=-1)
        return dict(
            plain=score(PAIRS),
            lists=score(lists).reshape(4, 1),
            longer=score(longer),
            packed=score(PAIRS._replace(packed=packed)),
            chunks=chunked(encoder, 2).encode(params, PAIRS, side="doc").values,
            layer=encoder.encode(params, PAIRS, side="doc", layers=(1,))[0].values,
            untyped=untyped.encode(params, PAIRS, side="doc").values,
            train=score(PAIRS, key=jax.random.key(0)),
            query=encoder.encode(params, PAIRS, side="query").values,
        )

    found = jax.tree.map(np.asarray, every(params))
    assert found["plain"].shape == (4, 1)
    assert found["plain"].dtype == np.float32
    for name in ("lists", "longer", "packed", "chunks", "layer"):
        np.testing.assert_allclose(found[name], found["plain"], atol=1e-5, err_msg=name)
    # Without positions only the types tell a word of the query from one of the document.
    assert abs(found["plain"][0, 0] - found["plain"][1, 0]) > 1e-3
    np.testing.assert_allclose(found["untyped"][0], found["untyped"][1], atol=1e-5)
    assert np.abs(found["train"] - found["plain"]).max() > 1e-3
    assert (found["query"] == 1).all()


def test_the_query_side_reads_nothing(made):
    encoder, params = made
    blank = Tokens(jnp.zeros((2, 1), jnp.int32), jnp.zeros((2, 1), bool))
    np.testing.assert_array_equal(encoder.encode(params, blank, side="query").values, np.ones((2, 1)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(pooling=("cls", "mean")), "give one, such as 'cls'"),
        (dict(pooler="tan"), "unknown pooler 'tan'"),
        (dict(head_dropout=1.0), "must be from 0 to 0.99"),
        (dict(projection=3), "the cross-encoder takes no 'projection'"),
    ],
)
def test_mistakes(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        cross_encoder(tiny.V, **{**tiny.TRUNK, **changes})
