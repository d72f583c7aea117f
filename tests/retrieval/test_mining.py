import collections

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.retrieval import exact, mining
from jaxir.retrieval.mining import Relevant, Rules, mine

DOCS, DEPTH = 60, 30


def world(seed=0, queries=12):
    """A search of vectors, positives of which some are not found, and texts of which three are equal each."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(DOCS, 4)).astype(np.float32)
    asked = rng.normal(size=(queries, 4)).astype(np.float32)
    scores, rows = exact.searcher(vectors, backend="numpy")(asked, DEPTH)
    positives = [sorted(rng.choice(DOCS, rng.integers(1, 4), replace=False).tolist()) for _ in asked]
    starts = np.cumsum([0, *map(len, positives)])
    flat = np.concatenate(positives)
    relevant = Relevant(starts, flat, np.full(len(flat), np.nan, np.float32))
    return scores, rows, relevant, positives, np.arange(DOCS) // 3


def by_hand(scores, rows, positives, texts, rules):
    """One query's negatives in rank order, by the rules as sentences."""
    found = {int(r): float(s) for r, s in zip(rows, scores)}
    known = [found[p] for p in positives if p in found]
    t = None
    if known:
        t = {"best": max, "worst": min, "mean": np.mean}[rules.reference](known)
    seen, left = {texts[p] for p in positives}, []
    for row, score in found.items():
        if row not in positives and texts[row] not in seen:
            seen.add(texts[row])
            left.append((row, score))
    left = left[rules.skip_top :]
    if rules.absolute_max is not None:
        left = [(r, s) for r, s in left if s < rules.absolute_max]
    if rules.relative and t is None:
        return []
    if rules.margin is not None:
        left = [(r, s) for r, s in left if s < t - rules.margin]
    if rules.max_score is not None:
        left = [(r, s) for r, s in left if s < t - (1 - rules.max_score) * abs(t)]
    return [r for r, _ in left]


@pytest.mark.parametrize(
    "rules",
    [
        Rules(per_query=5),
        Rules(per_query=40, skip_top=3, absolute_max=0.7),
        Rules(per_query=40, margin=0.3),
        Rules(per_query=40, max_score=0.9, reference="worst"),
        Rules(per_query=7, max_score=0.8, margin=0.1, skip_top=2, reference="mean"),
    ],
)
def test_the_rules(rules):
    scores, rows, relevant, positives, texts = world()
    mined = mine(scores, rows, relevant, rules, text=texts[rows], positive_text=texts[relevant.doc_row])
    kept = 0
    for i in range(len(rows)):
        expected = by_hand(scores[i], rows[i], positives[i], texts, rules)
        kept += len(expected)
        real = mined.rows[i] >= 0
        assert mined.rows[i][real].tolist() == expected[: rules.per_query]
        assert np.isneginf(mined.scores[i][~real]).all()
        score_of = dict(zip(rows[i].tolist(), scores[i].tolist()))
        assert mined.scores[i][real].tolist() == [score_of[r] for r in expected[: rules.per_query]]
    assert mined.kept.sum() == kept
    assert list(mined.dropped) == list(mining.RULES)
    assert sum(mined.dropped.values()) + kept == rows.size
    assert mined.rows.shape == (len(rows), rules.per_query)


def test_stricter_thresholds_keep_a_subset():
    scores, rows, relevant, _, _ = world()
    for name, values in (("margin", (0.0, 0.2, 0.6)), ("max_score", (1.0, 0.8, 0.3))):
        kept = [
            [set(q.tolist()) - {-1} for q in mine(scores, rows, relevant, Rules(DEPTH, **{name: v})).rows]
            for v in values
        ]
        assert all(c <= b <= a for a, b, c in zip(*kept))
        assert kept[0] != kept[2]


def test_a_positive_below_zero_is_not_undercut():
    relevant = Relevant(np.array([0, 1]), np.array([1]), np.array([np.nan], np.float32))
    scores, rows = np.array([[-0.95, -1.0, -1.02, -1.2]], np.float32), np.array([[0, 1, 2, 3]])
    # 0.9 times -1.0 would be -0.9, above the positive.
    assert mine(scores, rows, relevant, Rules(1, max_score=0.9)).rows.tolist() == [[3]]


def test_a_score_that_is_given_counts_and_a_query_without_one_keeps_nothing():
    relevant = Relevant(np.array([0, 1, 2]), np.array([8, 9]), np.array([0.5, np.nan], np.float32))
    scores, rows = np.array([[0.6, 0.4]] * 2, np.float32), np.array([[0, 1]] * 2)
    mined = mine(scores, rows, relevant, Rules(2, margin=0.0))
    assert mined.rows.tolist() == [[1, -1], [-1, -1]]
    assert mined.dropped[mining.UNKNOWN] == 2
    assert mine(scores, rows, relevant, Rules(2)).rows.tolist() == [[0, 1], [0, 1]]


def test_the_text_of_the_query_is_no_negative():
    relevant = Relevant(np.array([0, 1]), np.array([9]), np.array([np.nan], np.float32))
    texts = dict(text=np.array([[3, 4]]), positive_text=np.array([7]), query_text=np.array([3]))
    mined = mine(np.array([[2.0, 1.0]], np.float32), np.array([[0, 1]]), relevant, Rules(2), **texts)
    assert mined.rows.tolist() == [[1, -1]]


def test_random_picks():
    q, k = 2000, 8
    scores, rows = np.tile(np.arange(k, 0, -1, np.float32), (q, 1)), np.tile(np.arange(k), (q, 1))
    relevant = Relevant(np.arange(q + 1), np.full(q, k), np.full(q, np.nan, np.float32))
    drawn = {}
    for pick in ("random", "weighted"):
        rules = Rules(1, pick=pick, seed=3)
        mined = mine(scores, rows, relevant, rules)
        drawn[pick] = np.bincount(mined.rows[:, 0], minlength=k) / q
        some = slice(5, 9)  # the same picks in other company, other ones by another seed
        part = Relevant(np.arange(5), relevant.doc_row[:4], relevant.score[:4])
        again = mine(scores[some], rows[some], part, rules, number=np.arange(5, 9))
        assert again.rows.tolist() == mined.rows[some].tolist()
        assert mine(scores, rows, relevant, rules._replace(seed=4)).rows.tolist() != mined.rows.tolist()
    np.testing.assert_allclose(drawn["random"], 1 / k, atol=0.03)
    share = 1 / np.arange(1, k + 1)
    np.testing.assert_allclose(drawn["weighted"], share / share.sum(), atol=0.04)
    several = mine(
        scores[:50],
        rows[:50],
        Relevant(np.arange(51), relevant.doc_row[:50], relevant.score[:50]),
        Rules(3, pick="random"),
    )
    assert (np.diff(several.rows, axis=1) > 0).all()  # without repeats, in rank order
    assert len(collections.Counter(map(tuple, several.rows.tolist()))) > 10


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (dict(margin=-0.1), "margin is -0.1, it must be a number of at least 0"),
        (dict(margin=float("nan")), "margin is nan"),
        (dict(max_score=1.2), "max_score is 1.2, it must be above 0 and at most 1"),
        (dict(max_score=0.0), "max_score is 0.0"),
        (dict(absolute_max=float("inf")), "absolute_max is inf"),
        (dict(skip_top=-1), "skip_top is -1"),
        (dict(skip_top=5), "skip_top is 5 and depth 5: nothing would be left"),
        (dict(per_query=0), "per_query is 0"),
        (dict(seed=-1), "the seed is -1"),
        (dict(pick="tpo"), "unknown pick 'tpo'. Did you mean 'top'"),
        (dict(reference="bset"), "Did you mean 'best'"),
    ],
)
def test_mistakes(rules, text):
    with pytest.raises(InputError, match=text):
        mining.check_rules(Rules(**rules), 5)
