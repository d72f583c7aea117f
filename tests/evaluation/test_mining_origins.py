"""jaxir.retrieval.mining_origins over every kind of index, with the models of this folder."""

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.evaluation import stages
from jaxir.retrieval import index, mining_origins


@pytest.mark.parametrize(
    ("which", "options"),
    [
        ("model", dict(kind="exact", metric="cosine")),
        ("model", dict(kind="exact", dims=8, rerank_dims=20, rerank=80)),
        ("model", dict(kind="scann")),
        ("sparse_model", dict(kind="sparse")),
    ],
)
def test_a_pair_is_scored_as_the_search_scores_it(which, options, toy, tmp_path, request):
    model = request.getfixturevalue(which)
    vectors = stages.encode_docs(model, toy, tmp_path / "vectors", model_path=tmp_path, progress=False)
    index.build(vectors, tmp_path / "index", progress=False, **options)
    found = index.open(tmp_path / "index")
    origin = mining_origins.of_index(found, model, toy, "dev", depth=80)
    scores, rows = origin.find(np.arange(20))
    query, column = np.nonzero(rows >= 0)
    again = origin.score(query, rows[query, column])
    np.testing.assert_allclose(
        again, scores[query, column], rtol=2e-3 if which == "model" else 1e-5, atol=2e-3
    )
    assert origin.holds is None
    with pytest.raises(InputError, match=r"depth is 81, and the index .* has 80 documents: give at most"):
        mining_origins.of_index(found, model, toy, "dev", depth=81)
    with pytest.raises(InputError, match="was encoded by another model"):
        mining_origins.of_index(found, model._replace(fingerprint="other"), toy, "dev", depth=9)


def test_an_index_of_other_rows_is_matched_by_id(model, toy, tmp_path):
    vectors = stages.encode_docs(model, toy, tmp_path / "vectors", model_path=tmp_path, progress=False)
    index.build(vectors, tmp_path / "index", progress=False)
    found = index.open(tmp_path / "index")
    plain = mining_origins.of_index(found, model, toy, "dev", depth=9).find(np.arange(3))[1]
    order = np.random.default_rng(0).permutation(80)[:60]
    ids = found.ids[order]
    other = found._replace(ids=ids, manifest={**found.manifest, "source": None})
    origin = mining_origins.of_index(other, model, toy, "dev", depth=9)
    assert origin.holds.sum() == 60
    place = np.minimum(plain, 59)
    other = other._replace(search=lambda queries, k: (np.zeros((3, 9), np.float32), place))
    origin = mining_origins.of_index(other, model, toy, "dev", depth=9)
    assert origin.find(np.arange(3))[1].tolist() == order[place].tolist()
    strange = other._replace(ids=np.array([b"x", *ids[1:]]))
    with pytest.raises(InputError, match=r"the index .* names 1 documents that are not in toy: 'x'$"):
        mining_origins.of_index(strange, model, toy, "dev", depth=9)
