"""Nested losses of sentence-transformers on a tiny BERT's layers: the same values from the same vectors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.models.pretrained.writing import write_tokenizer
from jaxir.objectives import combine, matryoshka, matryoshka_2d
from jaxir.types import Batch, BatchReps, Encoder, Reps, Tokens
from tests.models.pretrained import folders
from tests.parity.test_pretrained import theirs as masked

pytestmark = pytest.mark.parity

torch = pytest.importorskip("torch")
sbert = pytest.importorskip("sentence_transformers")
losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

TOKENIZER = folders.tiny_tokenizer()
B, D, LAYERS, DIMS = 4, 32, 3, (8, 32)
TERMS = dict(rank=dict(fn="jaxir.losses:softmax", temperature=1 / 20, score="cosine"))
ENCODER = Encoder(None, None, dim=D, layers=LAYERS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    masked("bert", folder, vocab_size=TOKENIZER.vocab_size)
    write_tokenizer(folder, TOKENIZER, 32)
    trunk = modules.Transformer(str(folder))
    return sbert.SentenceTransformer(modules=[trunk, modules.Pooling(D, "mean")], device="cpu").eval()


@pytest.fixture(scope="module")
def sides():
    """Token ids and masks of queries and documents."""
    rng = np.random.default_rng(0)
    make = lambda l: (
        rng.integers(5, TOKENIZER.vocab_size, (B, l)),
        np.arange(l) < rng.integers(2, l + 1, (B, 1)),
    )
    return make(5), make(9)


def features(sides):
    return [
        {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask.astype(np.int64))}
        for ids, mask in sides
    ]


@pytest.fixture(scope="module")
def layers(model, sides):
    """Their mean-pooled vectors of each block as our representations."""
    with torch.no_grad():
        found = []
        for f, (_, mask) in zip(features(sides), sides):
            hidden = model[0].auto_model(**f, output_hidden_states=True).hidden_states[1:]
            weight = mask[..., None] / mask.sum(1)[:, None, None]
            found.append([jnp.asarray((h.numpy() * weight).sum(1), jnp.float32) for h in hidden])
    return tuple(BatchReps(Reps(q), Reps(d[:, None])) for q, d in zip(*found))


@pytest.fixture(scope="module")
def batch():
    tokens = lambda *shape: Tokens(jnp.zeros((*shape, 1), jnp.int32), jnp.ones((*shape, 1), bool))
    return Batch(tokens(B), tokens(B, 1), jnp.ones((B, 1)), jnp.ones((B, 1), bool))


def test_matryoshka(model, sides, layers, batch):
    weights = (0.5, 2.0)
    base = losses.MultipleNegativesRankingLoss(model, scale=20.0)
    theirs = losses.MatryoshkaLoss(model, base, list(DIMS), matryoshka_weights=list(weights))
    with torch.no_grad():
        expected = float(theirs(features(sides), None))
    ours = matryoshka(combine(TERMS), encoder=ENCODER, dims=DIMS, weights=weights)
    np.testing.assert_allclose(jax.jit(ours)(layers[-1], batch)[0], expected, atol=1e-5)


READINGS = {
    "uniform": dict(reading="detached"),
    "log": dict(reading="detached", layer_weights="log"),
    "linear": dict(reading="joint"),
}


@pytest.mark.parametrize("weighting", READINGS)
def test_matryoshka_2d(model, sides, layers, batch, weighting, monkeypatch):
    """Whatever we draw, they give the same for that layer and those two widths."""
    base = losses.MultipleNegativesRankingLoss(model, scale=20.0)
    theirs = losses.Matryoshka2dLoss(
        model, base, list(DIMS), n_layers_per_step=1, n_dims_per_step=1, layer_weighting=weighting,
        kl_div_weight=0.6, kl_temperature=0.3,
    )  # fmt: skip
    widest_first = sorted(DIMS, reverse=True)
    expected = {}
    for layer, last, lower in itertools.product(range(1, LAYERS), DIMS, DIMS):
        draws = iter([[widest_first.index(last)], [layer], [widest_first.index(lower)]])
        monkeypatch.setattr("random.sample", lambda population, k, draws=draws: next(draws))
        with torch.no_grad():
            expected[layer, last, lower] = float(theirs(features(sides), None))
    ours = matryoshka_2d(combine(TERMS), encoder=ENCODER, dims=DIMS, kl_weight=0.6, **READINGS[weighting])
    keys = jax.random.split(jax.random.key(0), 40)
    values, metrics = jax.jit(jax.vmap(lambda key: ours(layers, batch, key=key)))(keys)
    seen = set()
    for value, layer in zip(values, np.array(metrics["layer"])):
        fits = {size for size, x in expected.items() if abs(x - value) < 1e-5 and size[0] == layer}
        assert fits, (value, layer, expected)
        seen |= fits
    assert seen == set(expected)
