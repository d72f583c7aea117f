"""A small collection and an untrained static encoder: texts that share words are near each other."""

import random

import pytest

from jaxir.types import Doc, Qrel, Query, Source

DOCS = 80


def toy_source(name="toy", splits=("dev", "test")):
    """Documents of 12 words out of 300; a query is 4 words of its document."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(300)]
    texts = [rng.sample(words, 12) for _ in range(DOCS)]
    docs = [Doc(f"d{i}", f"title {i}", " ".join(t)) for i, t in enumerate(texts)]
    queries, qrels = {}, {}
    for number, split in enumerate(splits):
        chosen = range(number, DOCS, 4)
        queries[split] = [Query(f"{split}{i}", " ".join(rng.sample(texts[i], 4))) for i in chosen]
        qrels[split] = [Qrel(f"{split}{i}", f"d{i}", 1) for i in chosen]
    return Source(name, docs, queries, qrels)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """The collection as a prepared data set."""
    from jaxir.data.prepare import prepare

    return prepare(toy_source(), tmp_path_factory.mktemp("toy") / "data", progress=False)


@pytest.fixture(scope="session")
def model(toy):
    """An untrained encoder for it."""
    import jax

    from jaxir.data import tokenizer as tokenizers
    from jaxir.models.static import static
    from jaxir.training.checkpoint import Model

    tokenizer = tokenizers.train([d.text for d in toy.docs], vocab_size=600)
    encoder = static(tokenizer.vocab_size, dim=32)
    config = {
        "prefixes": {"query": "", "doc": ""},
        "max_length": {"query": 16, "doc": 48},
        "ladder": (16, 48),
        "data": {"doc_text": "text"},
    }
    return Model(encoder, encoder.init(jax.random.key(0)), tokenizer, config, "toy-model", 0)


@pytest.fixture(scope="session")
def sparse_model(model):
    """An untrained sparse encoder with the same tokenizer; its queries are bags of words."""
    import jax

    from jaxir.models.sparse import splade

    special = model.tokenizer.special_ids
    encoder = splade(
        model.tokenizer.vocab_size, layers=1, dim=16, heads=2, query="table", special_ids=special, top_k=50
    )
    params = encoder.init(jax.random.key(0))
    return model._replace(encoder=encoder, params=params, fingerprint="toy-sparse")
