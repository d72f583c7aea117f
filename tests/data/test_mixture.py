import collections
import json

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.examples import build_examples
from jaxir.data.feed import feed
from jaxir.data.mixture import parse_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two negatives files: "one" names documents 30-33 of queries 0-9, "two" 33-36 of all 20, with scores."""
    folder = tmp_path_factory.mktemp("negatives")
    one = [{"query_id": f"toy-q{i}", "doc_ids": [f"toy-d{j}" for j in range(30, 34)]} for i in range(10)]
    own = lambda i: [f"toy-d{i}", f"toy-d{i + 1}"]
    two = [
        {
            "query_id": f"toy-q{i}",
            "doc_ids": [*own(i), *(f"toy-d{j}" for j in range(33, 37)), "toy-d36"],
            "scores": [2.5, 3.5, 33, None, 35, 36, 99],
        }
        for i in range(20)
    ]
    for name, rows in (("one", one), ("two", two)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "one.jsonl", folder / "two.jsonl"


def listings(examples, times):
    for seed in range(times):
        yield examples.take(np.arange(len(examples)), np.random.default_rng(seed))


def test_slots_take_files_by_their_weights(toy, files):
    examples = build_examples(toy, "train", listed=1, negatives_file=[(files[0], 1), (files[1], 3)])
    drawn = collections.Counter()
    for listing in listings(examples, 40):
        assert listing.where.all()
        alone = listing.query_row >= 10
        assert (listing.doc_row[alone, 1] >= 33).all()  # the first file has none of theirs
        drawn.update(listing.doc_row[~alone, 1].tolist())
    share = sum(drawn[d] for d in (30, 31, 32)) / drawn.total()
    assert abs(share - 3 / 4 * 1 / 4) < 0.04  # 800 draws: three of the four of a file drawn one time in four
    assert abs(drawn[35] / drawn.total() - 3 / 16) < 0.04


def test_a_document_of_several_files_is_listed_once_and_a_file_that_is_used_up_gives_way(toy, files):
    examples = build_examples(toy, "train", listed=8, negatives_file=[(files[0], 1), (files[1], 9)])
    (listing,) = listings(examples, 1)
    for q, docs, where in zip(*(listing[i] for i in (0, 1, 3))):
        real = docs[1:][where[1:]].tolist()
        assert sorted(real) == list(range(30 if q < 10 else 33, 37))


def test_judged_documents_in_a_mixture(toy, files):
    mixture = ["judged", {"file": files[1], "weight": 2.0}]
    (listing,) = listings(build_examples(toy, "train", listed=9, negatives_file=mixture), 1)
    for q, docs, labels, where, teacher in zip(*listing):
        grades = dict(zip(docs[where].tolist(), labels[where].tolist()))
        assert grades == {q: 1, q + 1: 2, q + 2: 0, q + 3: 0, 33: 0, 34: 0, 35: 0, 36: 0}
        known = {d: t for d, t in zip(docs[where].tolist(), teacher[where].tolist()) if np.isfinite(t)}
        assert known == {33: 33, 35: 35, 36: 36, q: 2.5, q + 1: 3.5}
        assert (teacher[~where] == 0).all()
    # Weight 0: the file is there for its scores alone.
    scores_only = ["judged", (files[1], 0)]
    (listing,) = listings(build_examples(toy, "train", listed=5, negatives_file=scores_only), 1)
    assert (listing.where.sum(axis=1) == 4).all()
    assert (np.isfinite(listing.teacher) == ((listing.labels > 0) | ~listing.where)).all()


def test_one_example_per_query(toy):
    examples = build_examples(toy, "train", listed=3, listed_from="judged", one_per="query")
    assert len(examples) == 20
    first = set()
    for listing in listings(examples, 6):
        assert listing.query_row.tolist() == list(range(20))
        assert all(len(set(docs.tolist())) == 4 for docs in listing.doc_row)
        first |= set((listing.doc_row[:, 0] - listing.query_row).tolist())
    assert first == {0, 1}


def test_a_batch_of_a_mixture_is_a_function_of_seed_and_step(toy, files, tokenizer):
    def made(weight=2.0, **options):
        mixture = ((files[0], weight), dict(file=files[1]), "negatives")
        options = dict(batch_size=8, seed=3, listed=2, one_per="query") | options
        return feed([(toy, 1.0)], tokenizer, negatives_file=[mixture], **options)

    whole, again, halves = made(), made(), [made(process_index=i, process_count=2) for i in (0, 1)]
    assert again[9].doc_id.tolist() == whole[9].doc_id.tolist()  # without the steps before it
    assert np.concatenate([h[9].doc_id for h in halves]).tolist() == whole[9].doc_id.tolist()
    assert whole.fingerprint == again.fingerprint == halves[0].fingerprint != made(weight=1.0).fingerprint


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "no negatives file is named"),
        ([("a.jsonl", -1)], "the weight of a.jsonl is -1, it must be a number of at least 0"),
        ([("a.jsonl", 0)], "all negatives files have weight 0"),
        ([("a.jsonl", "2")], "the weight of a.jsonl is '2'"),
        ([dict(path="a.jsonl")], "is no negatives file: expected a path"),
        (["a.jsonl", ("a.jsonl", 2)], "a.jsonl is named twice"),
    ],
)
def test_mistakes(given, text):
    with pytest.raises(InputError, match=text):
        parse_files(given)


def test_one_list_of_files_for_each_data_set(toy, tokenizer):
    with pytest.raises(InputError, match="2 negatives files for 1 data sets"):
        feed([(toy, 1.0)], tokenizer, batch_size=2, listed=1, negatives_file=["a.jsonl", "b.jsonl"])


def test_scores_of_different_numbers_of_teachers(toy, files, tmp_path):
    row = {"query_id": "toy-q0", "doc_ids": ["toy-d9"], "scores": [[1], [2]]}
    (tmp_path / "two.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="different numbers of teachers"):
        build_examples(toy, "train", listed=1, negatives_file=["judged", files[1], tmp_path / "two.jsonl"])
