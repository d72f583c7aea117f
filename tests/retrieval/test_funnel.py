"""A funnel: candidates by a prefix, order by the longer vectors."""

import json

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.cli.main import main
from jaxir.retrieval import exact, funnel, index, vectors

N, DIM = 600, 32


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Small whole numbers, so that every sum is exact and many documents tie."""
    path = tmp_path_factory.mktemp("vectors") / "v"
    values = np.random.default_rng(0).integers(-2, 3, (N, DIM)).astype(np.float32)
    values[N // 2 :] = values[: N // 2]  # each document twice
    vectors.write(path, values, [f"d{i}" for i in range(N)], model="abc")
    return path


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).integers(-2, 3, (9, DIM)).astype(np.float32)


def built(source, out, **options):
    index.build(source, out, progress=False, overwrite=True, **options)
    return index.open(out)


@pytest.mark.parametrize(
    "options",
    [dict(dims=DIM, rerank=50), dict(dims=3, rerank=N), dict(dims=3, rerank=10 * N, kind="scann")],
    ids=["all dimensions", "all documents", "all documents of ScaNN"],
)
def test_a_funnel_that_loses_nothing_is_exact_search(source, queries, tmp_path, options):
    found = built(source, tmp_path / "f", **options).search(queries, 50)
    expected = built(source, tmp_path / "e").search(queries, 50)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])  # ties and all


def test_the_order_is_that_of_the_longer_prefix_among_the_candidates_of_the_shorter(
    source, queries, tmp_path, monkeypatch
):
    values = vectors.read(source).values
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    short, long = (unit(queries[:, :d]) @ unit(values[:, :d]).T for d in (4, 16))
    opened = built(source, tmp_path / "f", dims=4, rerank_dims=16, rerank=40, metric="cosine")
    monkeypatch.setattr(funnel, "GATHERED_BYTES", 1)  # one query at a time
    scores, rows = opened.search(queries, 10)
    np.testing.assert_allclose(scores, np.take_along_axis(long, rows, axis=1), atol=1e-6)
    fortieth = np.sort(short, axis=1)[:, -40, None]
    assert (np.take_along_axis(short, rows, axis=1) >= fortieth - 1e-6).all()
    best = np.sort(np.where(short > fortieth + 1e-6, long, -1), axis=1)[:, ::-1][:, :10]
    assert (scores >= best - 1e-6).all()
    assert opened.kind == "funnel"
    assert opened.dim == DIM
    assert opened.manifest["funnel"] == {"dims": 4, "rerank_dims": 16, "rerank": 40}
    assert "exact by 4 dimensions" in index.describe(tmp_path / "f")
    # What it says of itself is what a search for typical queries finds.
    again = built(source, tmp_path / "f", dims=4, rerank_dims=16, rerank=40, metric="cosine", queries=queries)
    _, truth = exact.search_numpy(unit(queries[:, :16]), 10, vectors=unit(values[:, :16]))
    share = np.mean([np.isin(a, b).mean() for a, b in zip(again.search(queries, 10)[1], truth)])
    assert again.manifest["measured_recall@10"] == pytest.approx(share, abs=0.1)
    assert again.manifest["measured_on"] == "queries"
    assert "measured_recall@100" not in again.manifest  # deeper than it scores again


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(dims=0), "dims is 0, it must be at least 1"),
        (dict(dims=64), "dims is 64, but the vectors have 32 dimensions"),
        (dict(dims=4, rerank_dims=768), "rerank_dims is 768, but the vectors have 32 dimensions"),
        (dict(dims=16, rerank_dims=8), "dims is 16, above rerank_dims 8"),
        (dict(dims=4, rerank=0), "rerank is 0"),
        (dict(rerank_dims=8), "rerank_dims=8 is of a funnel: add dims"),
        (dict(dims=4, leaves=3), "exact index has no options, given: leaves"),
        (dict(dims=4, kind="sparse"), "first dimensions of dense vectors"),
    ],
)
def test_bad_sizes(source, tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        index.build(source, tmp_path / "i", progress=False, **options)
    assert not list(tmp_path.iterdir())


def test_more_than_it_scores_again(source, queries, tmp_path):
    opened = built(source, tmp_path / "f", dims=4, rerank=20)
    with pytest.raises(InputError, match="k is 21, but the funnel scores the first 20 again"):
        opened.search(queries, 21)
    assert index.open(tmp_path / "f", rerank=30).search(queries, 21)[1].shape == (9, 21)
    manifest = tmp_path / "f" / "manifest.json"
    facts = json.loads(manifest.read_text())
    for change in (
        {"funnel": {"dims": 4, "rerank_dims": 8}},
        {"funnel": {"dims": 99, "rerank_dims": 9}},
        {"first": "os:system"},
    ):
        manifest.write_text(json.dumps(facts | change))
        with pytest.raises(InputError, match="damaged"):
            index.open(tmp_path / "f")


def test_as_a_command(source, tmp_path, capsys):
    flags = [f"--vectors={source}", f"--out={tmp_path / 'f'}", "--dims=4", "--rerank-dims=16", "--rerank=50"]
    main(["index", *flags])  # a flag's name with dashes, as many write it
    assert "the first 50 again by 16" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["index", *flags[:3], "--rerank_dims=33", "--overwrite"])
    assert "rerank_dims is 33, but the vectors have 32 dimensions" in capsys.readouterr().err
