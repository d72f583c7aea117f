import collections
import gzip
import json

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.examples import build_examples


def rng(seed=0):
    return np.random.default_rng(seed)


def take_all(examples, seed=0):
    return examples.take(np.arange(len(examples)), rng(seed))


@pytest.fixture
def file(tmp_path):
    """file([{...}, ...]) -> the path of a negatives file."""

    def write(rows, name="negatives.jsonl"):
        text = "".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows)
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


def test_one_example_for_every_positive(toy):
    listing = take_all(build_examples(toy, "train"))
    pairs = zip(listing.query_row.tolist(), listing.doc_row[:, 0].tolist(), listing.labels[:, 0].tolist())
    expected = [(i, (i + step) % 40, step + 1.0) for i in range(20) for step in (0, 1)]
    assert sorted(pairs) == sorted(expected)
    assert listing.doc_row.shape == (40, 1)
    assert listing.where.all()
    assert listing.teacher is None


@pytest.mark.parametrize("k", [1, 2, 4])
def test_judged_negatives_are_listed(toy, k):
    listing = take_all(build_examples(toy, "train", listed=k))
    assert listing.doc_row.shape == (40, 1 + k)
    for q, docs, labels, where in zip(*listing[:4]):
        real = docs[1:][where[1:]].tolist()
        assert set(real) <= {q + 2, q + 3}
        assert len(set(real)) == len(real) == min(k, 2)
        assert (docs[1:][~where[1:]] == docs[0]).all()
        assert (labels[1:] == 0).all()
    assert listing.labels.dtype == np.float32


def test_of_many_candidates_a_random_choice_is_listed(toy):
    examples = build_examples(toy, "train", listed=1)
    drawn = collections.Counter(
        (take_all(examples, seed).doc_row[:, 1] - take_all(examples, seed).query_row).tolist()[0]
        for seed in range(40)
    )
    assert set(drawn) == {2, 3}
    assert min(drawn.values()) > 8


def test_judged_lists_keep_their_grades(toy):
    listing = take_all(build_examples(toy, "train", listed=3, listed_from="judged"))
    for q, docs, labels, where in zip(*listing[:4]):
        assert where.all()
        assert sorted(zip(docs.tolist(), labels.tolist())) == [
            (q, 1.0),
            (q + 1, 2.0),
            (q + 2, 0.0),
            (q + 3, 0.0),
        ]


def test_known_positives(toy):
    examples = build_examples(toy, "train")
    rows = np.array([3, 0])
    assert examples.known(rows, np.array([[3], [0]]), 4).tolist() == [[3, 4, -1, -1], [0, 1, -1, -1]]
    # Where not all fit, those of the batch come first.
    assert examples.known(rows, np.array([[4], [0]]), 1).tolist() == [[4], [0]]
    assert examples.most_positives == 2


@pytest.mark.parametrize("name", ["negatives.jsonl", "negatives.jsonl.gz"])
def test_negatives_from_a_file(toy, file, name):
    rows = [{"query_id": f"toy-q{i}", "doc_ids": [f"toy-d{i}", "toy-d39", "toy-d38"]} for i in range(19)]
    listing = take_all(build_examples(toy, "train", listed=3, negatives_file=file(rows, name)))
    assert listing.teacher is None
    for q, docs, where in zip(listing.query_row, listing.doc_row, listing.where):
        # Positives in the file are not listed; query 19 has no line.
        assert set(docs[1:][where[1:]].tolist()) == ({38, 39} if q < 19 else set())


def test_scores_become_the_teacher(toy, file):
    rows = [
        {
            "query_id": f"toy-q{i}",
            "doc_ids": [f"toy-d{i + 1}", "toy-d39", f"toy-d{i}"],
            "scores": [i + 0.5, -1.5, i + 0.25],
        }
        for i in range(20)
    ]
    listing = take_all(build_examples(toy, "train", listed=2, negatives_file=file(rows)))
    assert listing.teacher.dtype == np.float32
    for q, docs, where, teacher in zip(listing.query_row, listing.doc_row, listing.where, listing.teacher):
        assert teacher.tolist() == [q + (0.25 if docs[0] == q else 0.5), -1.5, 0.0]
        assert where.tolist() == [True, True, False]
    with pytest.raises(InputError, match=r"none for 2 of 40 positives \(such as query 'toy-q19'"):
        build_examples(toy, "train", listed=2, negatives_file=file(rows[:-1]))


def test_scores_of_several_teachers(toy, file):
    rows = [
        {
            "query_id": f"toy-q{i}",
            "doc_ids": [f"toy-d{i + 1}", "toy-d39", f"toy-d{i}"],
            "scores": [[i + 0.5, -1.5, i + 0.25], [7, 8, 9]],
        }
        for i in range(20)
    ]
    listing = take_all(build_examples(toy, "train", listed=2, negatives_file=file(rows)))
    assert listing.teacher.shape == (40, 3, 2)
    assert listing.teacher.dtype == np.float32
    for q, docs, teacher in zip(listing.query_row, listing.doc_row, listing.teacher):
        own = [q + 0.25, 9] if docs[0] == q else [q + 0.5, 7]
        assert teacher.tolist() == [own, [-1.5, 8], [0, 0]]
    rows[3]["scores"] = rows[3]["scores"][:1]
    with pytest.raises(InputError, match=r"line 4: .* of the same number of teachers"):
        build_examples(toy, "train", listed=2, negatives_file=file(rows))


def test_hard_negatives_as_ms_marcos_are_published(toy, file):
    scored = lambda name, score: {"pid": f"toy-d{name}", "ce-score": score}
    rows = [
        {
            "qid": f"toy-q{i}",
            "pos": [scored(i, 2.5), scored(i + 1, 3.5)],
            "neg": {"bm25": [scored(39, -1.5), scored(38, -2.5)], "dense": [scored(39, -1.5)]},
        }
        for i in range(20)
    ]
    listing = take_all(build_examples(toy, "train", listed=3, negatives_file=file(rows)))
    for q, docs, where, teacher in zip(*(listing[i] for i in (0, 1, 3, 4))):
        assert sorted(docs[where][1:].tolist()) == [38, 39]
        assert teacher[0] == (2.5 if docs[0] == q else 3.5)
        assert dict(zip(docs[1:].tolist(), teacher[1:].tolist()))[38] == -2.5
    plain = [{"qid": r["qid"], "pos": [], "neg": ["toy-d39"]} for r in rows]
    listing = take_all(build_examples(toy, "train", listed=1, negatives_file=file(plain)))
    assert (listing.doc_row[:, 1] == 39).all()
    assert listing.teacher is None
    # What the file calls a positive is not listed as a negative, also where no judgement says so.
    other = [{"qid": r["qid"], "pos": ["toy-d39"]} for r in rows]
    listing = take_all(build_examples(toy, "train", listed=1, negatives_file=file(other)))
    assert (listing.labels[:, 1] == 1).all()


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ({"qid": "toy-q1", "pos": "toy-d1"}, "line 2: expected 'pos' and 'neg' to be lists"),
        ({"qid": "toy-q1", "neg": {"bm25": "toy-d1"}}, "line 2: expected 'neg' to be a list"),
        ({"qid": "toy-q1", "neg": [{"text": "x"}]}, "line 2: expected entries"),
        ({"qid": "toy-q1", "neg": ["toy-d1", {"pid": "toy-d2", "ce-score": 1}]}, "line 2: 'ce-score' must"),
        ("{", "line 2: not valid JSON"),
        ({"doc_ids": []}, "line 2: expected 'query_id'"),
        ({"query_id": "toy-q1"}, "line 2: expected 'doc_ids' to be a list"),
        ({"query_id": "toy-q1", "doc_ids": [["a"]]}, "line 2: expected 'doc_ids' to be a list"),
        ({"query_id": "toy-q1", "doc_ids": ["toy-d1"], "scores": []}, "line 2: expected 'scores'"),
        ({"query_id": "toy-q1", "doc_ids": ["toy-d1"], "scores": ["x"]}, "line 2: .* numbers"),
        ({"query_id": "toy-q1", "doc_ids": ["toy-d1"], "scores": [1]}, "in every line or in none"),
        ({"query_id": "toy-q99", "doc_ids": []}, "1 queries that are not in split 'train' of toy"),
        ({"query_id": "toy-q1", "doc_ids": ["x", "y"]}, "2 documents .* not in toy: 'x', 'y'$"),
    ],
)
def test_malformed_files(toy, file, second, text):
    path = file([{"query_id": "toy-q0", "doc_ids": ["toy-d5"]}, second])
    with pytest.raises(InputError, match=f"negatives.jsonl.*{text}"):
        build_examples(toy, "train", listed=1, negatives_file=path)


@pytest.mark.parametrize(
    ("split", "options", "text"),
    [
        ("trian", {}, "unknown split of toy 'trian'. Did you mean 'train'"),
        ("train", {"listed": -1}, "listed is -1"),
        ("train", {"negatives_file": "x.jsonl"}, "listed is 0"),
        ("train", {"listed": 1, "negatives_file": "x.jsonl"}, "no file x.jsonl"),
        ("train", {"listed": 1, "listed_from": "judgd"}, "Did you mean 'judged'"),
    ],
)
def test_mistakes(toy, split, options, text):
    with pytest.raises(InputError, match=text):
        build_examples(toy, split, **options)


def test_pickles_are_not_read(toy, tmp_path):
    for name in ("scores.pkl", "scores.pickle.gz"):
        with pytest.raises(InputError, match=r"is a pickle.*lines of JSON"):
            build_examples(toy, "train", listed=1, negatives_file=tmp_path / name)
