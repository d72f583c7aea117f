"""Queries and documents joined: the query is kept, the document alone is cut."""

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data import tokenizer as tokenizers
from jaxir.data.examples import build_examples
from jaxir.data.feed import feed

OPTIONS = dict(batch_size=8, seed=5, listed=2, max_length={"query": 6, "doc": 14}, ladder=(4, 8, 16))
CLS, SEP = 2, 3


def rows(tokens):
    return [
        list(ids[real])
        for ids, real in zip(
            tokens.ids.reshape(-1, tokens.ids.shape[-1]), tokens.mask.reshape(-1, tokens.ids.shape[-1])
        )
    ]


def test_each_listed_document_stands_behind_its_query(toy, tokenizer):
    joined = feed(toy, tokenizer, pairs="joined", **OPTIONS)
    long = {"query": 40, "doc": 99}
    apart, pairs = feed(toy, tokenizer, **{**OPTIONS, "max_length": long})[3], joined[3]
    for field in ("labels", "where", "doc_id", "query_id", "known"):
        np.testing.assert_array_equal(getattr(pairs, field), getattr(apart, field))
    assert pairs.docs.ids.shape == (8, 3, 14)
    assert pairs.query.ids.shape == (8, 1)
    assert not pairs.query.mask.any()
    queries = [ids for ids in rows(apart.query) for _ in range(3)]
    cut = 0
    for pair, query, doc in zip(rows(pairs.docs), queries, rows(apart.docs), strict=True):
        kept = query[1:-1][:4]  # 6 tokens with its own [CLS] and [SEP]
        room = 14 - 3 - len(kept)
        assert pair == [CLS, *kept, SEP, *doc[1:-1][:room], SEP]
        cut += len(doc) - 2 > room
    assert cut > 3
    assert joined.fingerprint != feed(toy, tokenizer, **OPTIONS).fingerprint


def test_a_suffix_stands_behind_every_document(toy, tokenizer):
    batch = feed(toy, tokenizer, pairs="joined", pair_suffix=" red fox", **OPTIONS)[3]
    end = [*tokenizer.encode_plain([" red fox"])[0], SEP]
    found = rows(batch.docs)
    assert all(pair[-len(end) :] == end for pair in found)
    assert max(map(len, found)) == 14
    with pytest.raises(InputError, match="pair_suffix=' x' is for pairs='joined'"):
        feed(toy, tokenizer, pair_suffix=" x", **OPTIONS)


def test_packed_pairs_name_the_same_tokens(toy, tokenizer):
    plain, packed = (feed(toy, tokenizer, pairs="joined", **OPTIONS, packed=n)[0] for n in (0, 2))
    np.testing.assert_array_equal(plain.docs.ids, packed.docs.ids)
    assert packed.query.packed is None
    mask = plain.docs.mask.reshape(4, 2, 3, -1).swapaxes(0, 1).reshape(2, -1)  # micro-batch r mod 2
    for at, real in zip(packed.docs.packed, mask):
        assert sorted(at[at < real.size]) == list(np.flatnonzero(real))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(listed=0), "listed=0 has one document for each query"),
        (dict(max_length={"query": 12, "doc": 13}), r"max_length.doc is 13.*length of query and document"),
    ],
)
def test_pairs_that_cannot_be(changes, sentence, toy, tokenizer):
    with pytest.raises(InputError, match=sentence):
        feed(toy, tokenizer, pairs="joined", **{**OPTIONS, **changes})


def test_random_documents_are_not_relevant_to_their_query(toy):
    examples = build_examples(toy, "train", listed=5, listed_from="random")
    found = examples.take(np.arange(len(examples)), np.random.default_rng(0))
    assert found.where.all()
    assert (found.labels[:, 1:] == 0).all()
    table = toy.qrels["train"]
    relevant = set(zip(table.query_row[table.relevance > 0], table.doc_row[table.relevance > 0]))
    assert not {(q, d) for q, docs in zip(found.query_row, found.doc_row[:, 1:]) for d in docs} & relevant


def test_the_file_of_a_tokenizer_says_how_it_joins(tokenizer, tmp_path):
    assert tokenizer.pair() == ((CLS,), (SEP,), (SEP,), True)
    tokenizer.with_pairs().save(tmp_path / "tokenizer.json")
    again = tokenizers.load(tmp_path / "tokenizer.json")
    assert again.pair() == tokenizer.pair()
    assert (again.head, again.tail) == (tokenizer.head, tokenizer.tail)
    both = again.backend.encode("red", "blue green")
    one, two = tokenizer.encode_plain(["red", "blue green"])
    assert both.ids == [CLS, *one, SEP, *two, SEP]
    assert both.type_ids == [0] * (len(one) + 2) + [1] * (len(two) + 1)
    assert again.with_pairs() is again
