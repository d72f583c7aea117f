"""Every document once per epoch, judged or not."""

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.augment import crop_queries
from jaxir.data.feed import feed
from jaxir.data.prepare import prepare
from jaxir.types import Source


@pytest.fixture(scope="module")
def unjudged(toy, tmp_path_factory):
    """The toy's documents as a source of nothing else."""
    source = Source("unjudged", list(toy.docs), {}, {})
    return prepare(source, tmp_path_factory.mktemp("unjudged") / "data", progress=False)


def documents(data, tokenizer, **more):
    return feed(data, tokenizer, batch_size=8, pairs="documents", **more)


def test_each_document_comes_once_per_epoch_with_an_empty_query(unjudged, tokenizer):
    batches = documents(unjudged, tokenizer)
    assert batches.epoch_steps == 5
    for epoch in range(2):
        steps = [batches[5 * epoch + i] for i in range(5)]
        assert sorted(np.concatenate([b.doc_id[:, 0] for b in steps])) == list(range(40))
    batch = batches[3]
    row = int(batch.doc_id[2, 0])
    (text,) = tokenizer.encode_batch([unjudged.docs[row].text], max_length=256)
    np.testing.assert_array_equal(batch.docs.ids[2, 0][batch.docs.mask[2, 0]], text)
    assert (batch.query.mask.sum(axis=1) == 2).all()  # [CLS] [SEP]
    assert batch.where.all()


def test_a_batch_is_a_function_of_the_seed_and_its_number(unjudged, toy, tokenizer):
    batches, again = documents(unjudged, tokenizer, seed=1), documents(unjudged, tokenizer, seed=1)
    again[0]
    jax.tree.map(np.testing.assert_array_equal, batches[7], again[7])
    assert documents(unjudged, tokenizer, seed=2).fingerprint != batches.fingerprint
    assert feed(toy, tokenizer, batch_size=8).fingerprint != documents(toy, tokenizer).fingerprint
    half = documents(unjudged, tokenizer, seed=1, process_index=1, process_count=2)[7]
    np.testing.assert_array_equal(half.docs.ids, batches[7].docs.ids[4:])


def test_queries_can_be_cropped_from_the_documents(unjudged, tokenizer):
    crop = lambda texts, rng: crop_queries(texts, rng, p=1.0, min_tokens=2, max_tokens=4)
    batch = documents(unjudged, tokenizer, augment=[crop])[0]
    np.testing.assert_array_equal(batch.known[:, 0], batch.doc_id[:, 0])
    for query, doc in zip(batch.query.ids, batch.docs.ids[:, 0]):
        words = query[1:][~np.isin(query[1:], tokenizer.special_ids)].tolist()
        inside = doc.tolist()
        assert any(inside[i : i + len(words)] == words for i in range(len(inside)))
        assert words


@pytest.mark.parametrize(
    ("options", "message"),
    [({"listed": 2}, "set listed=0"), ({"pairs": "docs"}, "did you mean|Did you mean")],
)
def test_what_documents_cannot_have(options, message, unjudged, tokenizer):
    with pytest.raises(InputError, match=message):
        feed(unjudged, tokenizer, batch_size=8, **{"pairs": "documents", **options})
