import functools

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.feed import feed

AUGMENT = (
    dict(fn="jaxir.data.augment:crop_queries", p=0.5, min_tokens=2, max_tokens=5),
    dict(fn="jaxir.data.augment:drop_tokens", p=0.2),
)
OPTIONS = dict(
    batch_size=8,
    seed=5,
    listed=2,
    max_length={"query": 8, "doc": 24},
    ladder=(4, 8, 16, 32),
    augment=AUGMENT,
)


def arrays(batch):
    return [x for x in (*batch.query, *batch.docs, *batch[2:]) if x is not None]


def equal(one, two):
    pairs = list(zip(arrays(one), arrays(two), strict=True))
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(params=["one", "mixed", "mixed same source"])
def data(request, toy, other):
    if request.param == "one":
        return dict(data=toy)
    return dict(data=[(toy, 2.0), (other, 1.0)], same_source_batches=request.param.endswith("source"))


def test_shapes_and_types(toy, tokenizer):
    batch = feed(toy, tokenizer, **OPTIONS)[0]
    assert batch.query.ids.shape == batch.query.mask.shape
    assert batch.query.ids.shape[0] == 8
    assert batch.query.ids.shape[1] in (4, 8)
    assert batch.docs.ids.shape[:2] == (8, 3)
    assert batch.docs.ids.shape[2] in (4, 8, 16, 24)
    assert batch.labels.shape == batch.where.shape == batch.doc_id.shape == (8, 3)
    assert batch.known.shape == (8, 2)
    types = [x.dtype for x in arrays(batch)]
    assert types == [np.int32, bool, np.int32, bool, np.float32, bool, np.int32, np.int32, np.int32]
    assert batch.teacher is None
    # [CLS] ... [SEP]
    assert (batch.docs.ids[..., 0] == 2).all()
    lengths = batch.docs.mask.sum(-1)
    assert (np.take_along_axis(batch.docs.ids, lengths[..., None] - 1, -1) == 3).all()


def test_a_batch_is_a_function_of_seed_and_step(data, tokenizer):
    one, two = (feed(tokenizer=tokenizer, **data, **OPTIONS) for _ in range(2))
    forwards = [one[i] for i in range(12)]
    for i in (11, 0, 7, 7):
        assert equal(two[i], forwards[i])
    assert not equal(forwards[0], forwards[1])
    assert not equal(feed(tokenizer=tokenizer, **data, **{**OPTIONS, "seed": 6})[0], forwards[0])
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("count", [2, 4, 8])
def test_processes_share_the_same_global_batch(data, tokenizer, count):
    whole = feed(tokenizer=tokenizer, **data, **OPTIONS)
    shares = [
        feed(tokenizer=tokenizer, **data, **OPTIONS, process_index=i, process_count=count)
        for i in range(count)
    ]
    for step in (0, 5):
        parts = zip(*(arrays(s[step]) for s in shares))
        for expected, share in zip(arrays(whole[step]), parts, strict=True):
            assert np.array_equal(np.concatenate(share), expected)
    assert {s.fingerprint for s in shares} == {whole.fingerprint}
    rows = [0, 3, 6]
    some = feed(tokenizer=tokenizer, **data, **OPTIONS, process_index=1, process_count=count, rows=rows)
    for expected, got in zip(arrays(whole[5]), arrays(some[5]), strict=True):
        assert np.array_equal(got, expected[rows])


@pytest.mark.parametrize("start", [0, 3])
def test_threads_give_the_same_batches_in_order(data, tokenizer, start):
    batches = feed(tokenizer=tokenizer, **data, **OPTIONS)
    plain = feed(tokenizer=tokenizer, **data, **OPTIONS)
    iterator = batches.iterate(start, threads=4)
    for step in range(start, start + 10):
        assert equal(next(iterator), plain[step])


def test_memory_for_tokens_changes_nothing(data, tokenizer):
    with_memory = feed(tokenizer=tokenizer, **data, **OPTIONS)
    without = feed(tokenizer=tokenizer, **data, **OPTIONS, cache_bytes=0)
    assert all(equal(with_memory[i], without[i]) for i in range(4))


def test_tokens_are_those_of_the_tokenizer(toy, tokenizer):
    options = {**OPTIONS, "augment": (), "batch_size": 20, "doc_text": "title+text"}
    prefixes = {"query": "red: ", "doc": "blue "}
    batch = feed(toy, tokenizer, **options, prefixes=prefixes)[3]
    queries, docs = list(toy.queries["train"]), list(toy.docs)

    def check(ids, mask, text, limit):
        (expected,) = tokenizer.encode_batch([text], max_length=limit)
        assert ids[mask].tolist() == expected.tolist()
        assert (ids[~mask] == tokenizer.pad_id).all()

    for i, row in enumerate(batch.query_id):
        check(batch.query.ids[i], batch.query.mask[i], "red: " + queries[row].text, 8)
        for j, doc_row in enumerate(batch.doc_id[i]):
            doc = docs[doc_row]
            check(batch.docs.ids[i, j], batch.docs.mask[i, j], f"blue {doc.title} {doc.text}", 24)


def test_ids_labels_and_known_are_those_of_the_judgements(toy, tokenizer):
    table = toy.qrels["train"]
    grades = {(q, d): r for q, d, r in zip(*(c.tolist() for c in table))}
    batches = feed(toy, tokenizer, **{**OPTIONS, "listed": 3})
    for step in range(5):
        batch = batches[step]
        for q, docs, labels, where, known in zip(
            batch.query_id.tolist(), batch.doc_id, batch.labels, batch.where, batch.known
        ):
            assert labels[0] > 0
            assert where.tolist() == [True, True, True, False]
            assert docs[3] == -1
            assert [grades[q, d] for d in docs[:3].tolist()] == labels[:3].tolist()
            assert sorted(known.tolist()) == [q, q + 1]


def test_augmentation_leaves_instructions_alone(toy, tokenizer):
    prefixes = {"query": "red : ", "doc": "blue : "}
    head = {s: tokenizer.encode_plain([p])[0] for s, p in prefixes.items()}
    changed = dict(
        max_length={"query": 12, "doc": 24},
        augment=(
            dict(fn="jaxir.data.augment:crop_queries", p=1.0, min_tokens=2, max_tokens=5),
            dict(fn="jaxir.data.augment:drop_tokens", p=0.9),
        ),
    )
    batch = feed(toy, tokenizer, **{**OPTIONS, **changed}, prefixes=prefixes)[0]
    n = {side: len(ids) for side, ids in head.items()}
    assert (batch.query.ids[:, 1 : 1 + n["query"]] == head["query"]).all()
    assert (batch.docs.ids[:, :, 1 : 1 + n["doc"]] == head["doc"]).all()
    assert (batch.query.mask.sum(1) <= 2 + n["query"] + 5).all()


@pytest.mark.parametrize("groups", [1, 4])
def test_packed_batches_say_where_their_tokens_are(toy, tokenizer, groups):
    plain = feed(toy, tokenizer, **OPTIONS)
    packed = feed(toy, tokenizer, **OPTIONS, packed=groups)
    assert packed.fingerprint == plain.fingerprint
    for step in range(3):
        for side in ("query", "docs"):
            tokens, padded = getattr(packed[step], side), getattr(plain[step], side)
            assert np.array_equal(tokens.ids, padded.ids)
            assert padded.packed is None
            assert tokens.packed.shape[0] == groups
            for j, at in enumerate(tokens.packed):
                mask = tokens.mask[j::groups]
                assert at[at < mask.size].tolist() == np.flatnonzero(mask).tolist()


def test_packed_batches_have_few_sizes(toy, tokenizer):
    batches = feed(toy, tokenizer, **{**OPTIONS, "batch_size": 16}, packed=1)
    sizes = {(b.query.packed.size, b.docs.packed.size) for b in map(batches.__getitem__, range(20))}
    assert len(sizes) <= 4
    tokens = sum((b.query.mask.sum() + b.docs.mask.sum()) for b in map(batches.__getitem__, range(20)))
    assert sum(map(sum, sizes)) / len(sizes) * 20 < 1.3 * tokens


def test_rows_of_several_data_sets_do_not_collide(toy, other, tokenizer):
    batches = feed([(toy, 1.0), (other, 1.0)], tokenizer, **OPTIONS)
    seen = {"query": set(), "doc": set()}
    for step in range(20):
        batch = batches[step]
        first = batch.query_id < 20
        assert first.sum() == 4
        docs = np.where(batch.where, batch.doc_id, np.where(first, 0, 40)[:, None])
        assert (docs[first] < 40).all()
        assert (docs[~first] >= 40).all()
        assert (batch.known[first] < 40).all()
        assert (batch.known[~first] >= 40).all()
        seen["query"] |= set(batch.query_id.tolist())
        seen["doc"] |= set(docs.ravel().tolist())
    assert max(seen["query"]) == 25
    assert max(seen["doc"]) == 48  # the last judged document


def test_the_same_text_has_one_number(toy, tokenizer):
    batches = feed([(toy, 1.0), (toy, 1.0)], tokenizer, **OPTIONS)
    assert max(batches[i].doc_id.max() for i in range(10)) < 40


def test_batches_of_one_source(toy, other, tokenizer):
    batches = feed([(toy, 2.0), (other, 1.0)], tokenizer, same_source_batches=True, **OPTIONS)
    of_first = [(batches[i].query_id < 20).mean() for i in range(9)]
    assert sorted(of_first) == [0.0] * 3 + [1.0] * 6


def test_an_epoch(toy, tokenizer):
    batches = feed(toy, tokenizer, **{**OPTIONS, "augment": ()})
    assert batches.epoch_steps == 5
    pairs = [
        (q, d)
        for i in range(5)
        for q, d in zip(batches[i].query_id.tolist(), batches[i].doc_id[:, 0].tolist())
    ]
    assert sorted(pairs) == [(q, q + step) for q in range(20) for step in (0, 1)]


def test_an_augmentation_of_your_own(toy, tokenizer):
    def only_first(texts, rng, *, keep):
        return texts._replace(docs=texts.docs.cut(keep))

    changed = {**OPTIONS, "augment": [functools.partial(only_first, keep=1)]}
    batches = feed(toy, tokenizer, **changed)
    assert (batches[0].docs.mask.sum(-1) == 3).all()
    assert batches.fingerprint != feed(toy, tokenizer, **{**OPTIONS, "augment": ()}).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 4},
        {"seed": 1},
        {"listed": 1},
        {"listed_from": "judged"},
        {"max_length": {"query": 8, "doc": 16}},
        {"ladder": (8, 32)},
        {"augment": AUGMENT[:1]},
        {"augment": (AUGMENT[0], {**AUGMENT[1], "p": 0.3})},
        {"prefixes": {"query": "q "}},
        {"doc_text": "title+text"},
        {"split": "test", "listed": 0},
    ],
)
def test_the_fingerprint_is_of_all_that_matters(toy, tokenizer, change):
    assert feed(toy, tokenizer, **{**OPTIONS, **change}).fingerprint != (
        feed(toy, tokenizer, **OPTIONS).fingerprint
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 9, "process_count": 2}, "make it a multiple of 2"),
        ({"process_index": 1}, "process"),
        ({"doc_text": "body"}, "unknown value of doc_text"),
        ({"prefixes": {"document": "x"}}, "unknown side 'document'"),
        ({"max_length": {"doc": 2}}, "no room"),
        ({"prefixes": {"query": "red blue green gold tin iron"}}, "alone has"),
        ({"split": "test"}, "there are none"),
        ({"split": "dev"}, "unknown split of toy 'dev'"),
        ({"augment": (dict(fn="jaxir.data.augment:crop_query"),)}, "Did you mean 'crop_queries'"),
        ({"augment": (dict(fn="jaxir.data.augment:drop_tokens", q=1),)}, "takes no 'q'"),
        ({"negatives_file": ["a", "b"]}, "no file a"),
        ({"ladder": (0,)}, "positive steps"),
        ({"packed": 1, "process_count": 2}, "packed=0 pads"),
        ({"packed": 3}, "packed=3 splits batch_size 8"),
    ],
)
def test_mistakes(toy, tokenizer, change, text):
    with pytest.raises(InputError, match=text):
        feed(toy, tokenizer, **{**OPTIONS, **change})


def test_no_data(tokenizer):
    with pytest.raises(InputError, match="at least one data set"):
        feed([], tokenizer, batch_size=2)
