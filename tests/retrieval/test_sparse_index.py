"""Every kind of index over sparse vectors through build and open: results, recall, traps, what is refused."""

import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

from jaxir.checks import InputError
from jaxir.files import read_manifest
from jaxir.retrieval import index, sparse_vectors, vectors
from tests.retrieval import toy
from tests.retrieval.test_sparse_exact import reference

N, DIM, K = 400, 700, 10


def needs(kind):
    """Skips where the engine is not installed; it is an extra."""
    if kind in ("seismic", "bmp"):
        pytest.importorskip(kind)


@pytest.fixture(scope="module")
def docs():
    return toy.random_rows(N, DIM, 25)


@pytest.fixture(scope="module")
def queries():
    return toy.random_rows(30, DIM, 8, seed=1)


@pytest.fixture(scope="module")
def source(docs, tmp_path_factory):
    path = tmp_path_factory.mktemp("sparse") / "v"
    sparse_vectors.write(path, docs, [f"d{i}" for i in range(N)], model="abc", source={"name": "toy"})
    return path


@pytest.fixture(scope="module", params=index.SPARSE_KINDS)
def built(request, source, tmp_path_factory):
    needs(request.param)
    path = tmp_path_factory.mktemp("index") / "i"
    index.build(source, path, kind=request.param, progress=False)
    return path


def test_search_finds_true_scores(built, docs, queries):
    opened = index.open(built)
    scores, rows = opened.search(queries, K)
    expected = reference(queries, docs, K)
    if opened.kind == "sparse":
        np.testing.assert_array_equal(rows, expected[1])
    else:
        assert np.mean([np.isin(a, b).mean() for a, b in zip(expected[1], rows)]) > 0.9
    true = np.take_along_axis((queries @ docs.T).toarray(), rows, axis=1)
    np.testing.assert_allclose(scores, np.where(rows >= 0, true, -np.inf), rtol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()
    kept = {"model": "abc", "source": {"name": "toy"}, "metric": "dot", "n": N, "dim": DIM}
    assert kept.items() <= opened.manifest.items()
    assert f"{opened.kind}, 400 documents x 700" in index.describe(built)
    dense = opened.search(queries.toarray(), K)
    np.testing.assert_array_equal(dense[1], rows)


def test_what_shares_no_term_is_not_found(built, docs):
    rare = np.argsort(np.bincount(docs.indices, minlength=DIM))
    unseen, once = rare[0], rare[np.searchsorted(np.bincount(docs.indices, minlength=DIM)[rare], 1)]
    asked = np.zeros((3, DIM), np.float32)
    asked[1, unseen] = 1
    asked[2, [once, unseen]] = 2
    scores, rows = index.open(built).search(csr_array(asked), 5)
    assert (rows[:2] == -1).all()
    holder = docs[:, [once]].toarray()[:, 0]
    assert rows[2].tolist() == [int(holder.argmax()), -1, -1, -1, -1]
    assert np.isneginf(scores[2, 1:]).all()
    assert index.open(built).search(csr_array(asked)[:0], 5)[0].shape == (0, 5)


def test_bad_queries(built):
    search = index.open(built).search
    with pytest.raises(InputError, match=r"\(2, 9\).*over 700 terms"):
        search(csr_array((2, 9), dtype=np.float32), 3)
    with pytest.raises(InputError, match="query 1 has a negative weight"):
        search(csr_array(np.eye(2, DIM, dtype=np.float32) * [[1], [-1]]), 3)
    with pytest.raises(InputError, match="only 400 documents"):
        search(csr_array((1, DIM), dtype=np.float32), 401)


@pytest.mark.parametrize("kind", ["seismic", "bmp"])
def test_recall_is_measured_on_queries(source, queries, docs, tmp_path, kind):
    needs(kind)
    sparse_vectors.write(tmp_path / "q", queries, [str(i) for i in range(30)])
    index.build(source, tmp_path / "i", kind=kind, queries=tmp_path / "q", reorder=4, progress=False)
    facts = read_manifest(tmp_path / "i", "index", verify=True)["options"]
    assert facts["measured_on"] == "queries"
    expected = reference(queries, docs, K)[0]
    found = index.open(tmp_path / "i").search(queries, K)[0]
    enough = np.minimum((found >= expected.min(axis=1, keepdims=True) * (1 - 1e-6)).sum(1), K)
    assert facts["measured_recall@10"] == pytest.approx(np.mean(enough / K), abs=1e-4)
    assert 0.9 < facts["measured_recall@10"] <= 1
    assert facts["engine_bytes"] > 0
    assert "on a sample of queries" in index.describe(tmp_path / "i")


def test_seismic_prunes_more_with_a_higher_factor_and_a_lower_cut(source, docs, queries, tmp_path):
    needs("seismic")
    index.build(source, tmp_path / "i", kind="seismic", centroid_fraction=0.5, progress=False)
    truth = reference(queries, docs, K)[1]

    def recall(**options):
        rows = index.open(tmp_path / "i", **options).search(queries, K)[1]
        return np.mean([np.isin(a, b).mean() for a, b in zip(truth, rows)])

    assert recall(heap_factor=0, query_cut=DIM, reorder=1) > 0.99
    assert recall(heap_factor=5, query_cut=DIM, reorder=1) < recall(heap_factor=0, query_cut=DIM, reorder=1)
    assert recall(heap_factor=0, query_cut=1, reorder=1) < recall(heap_factor=0, query_cut=DIM, reorder=1)


def test_seismic_numbers_large_vocabularies(tmp_path, monkeypatch):
    needs("seismic")
    monkeypatch.setattr("jaxir.retrieval.seismic.SMALL", 100)  # as if 16 bits were 7: real ones take long
    rows = toy.random_rows(60, 200_000, 10)
    sparse_vectors.write(tmp_path / "v", rows, [str(i) for i in range(60)])
    index.build(tmp_path / "v", tmp_path / "i", kind="seismic", query_cut=99, heap_factor=0, progress=False)
    assert index.open(tmp_path / "i").manifest["options"]["large"]
    np.testing.assert_array_equal(index.open(tmp_path / "i").search(rows, 1)[1], reference(rows, rows, 1)[1])


def test_bmp_scores_that_do_not_fit_16_bits(tmp_path):
    """A document of 40 heavy terms scores above 65,535 in BMP's integers: without care it would come last."""
    needs("bmp")
    rows = np.tril(np.ones((40, 40), np.float32))
    sparse_vectors.write(tmp_path / "v", csr_array(rows), [str(i) for i in range(40)])
    index.build(tmp_path / "v", tmp_path / "i", kind="bmp", block_size=4, reorder=1, progress=False)
    for terms in (1, 5, 40):
        asked = csr_array(rows[[terms - 1]])
        scores, _ = index.open(tmp_path / "i").search(asked, 10)
        assert scores[0].tolist() == np.sort(rows @ rows[terms - 1])[::-1][:10].tolist()


@pytest.mark.parametrize("n", [3, 33])
def test_bmp_looks_at_every_block(tmp_path, n):
    needs("bmp")
    rows = toy.random_rows(n, 30, 5)
    sparse_vectors.write(tmp_path / "v", rows, [str(i) for i in range(n)])
    index.build(tmp_path / "v", tmp_path / "i", kind="bmp", progress=False)
    np.testing.assert_array_equal(index.open(tmp_path / "i").search(rows, n)[1], reference(rows, rows, n)[1])


def test_bmp_refuses_more_terms_than_it_numbers(tmp_path, monkeypatch):
    needs("bmp")
    monkeypatch.setattr("jaxir.retrieval.bmp.MOST_TERMS", 100)
    sparse_vectors.write(tmp_path / "v", toy.random_rows(20, 500, 30), [str(i) for i in range(20)])
    with pytest.raises(InputError, match=r"\d+ terms occur.*take kind seismic or sparse"):
        index.build(tmp_path / "v", tmp_path / "i", kind="bmp", progress=False)


def test_what_is_refused_at_build(source, tmp_path, monkeypatch):
    out = tmp_path / "i"
    vectors.write(tmp_path / "dense", np.ones((3, 4), np.float32), ["a", "b", "c"])
    with pytest.raises(InputError, match=r"holds dense vectors.*kind exact or scann"):
        index.build(tmp_path / "dense", out, kind="sparse")
    with pytest.raises(InputError, match=r"holds sparse vectors.*kind sparse, seismic or bmp"):
        index.build(source, out, kind="scann")
    with pytest.raises(InputError, match="a sparse index has no options, given: leaves"):
        index.build(source, out, kind="sparse", leaves=3)
    with pytest.raises(InputError, match="metric 'cosine' is for dense ones"):
        index.build(source, out, metric="cosine")
    needs("seismic")
    with pytest.raises(InputError, match=r"option of a seismic index 'query_cuts'.*'query_cut'"):
        index.build(source, out, kind="seismic", query_cuts=3)
    with pytest.raises(InputError, match="heap_factor is -1"):
        index.build(source, out, kind="seismic", heap_factor=-1, progress=False)
    monkeypatch.setitem(sys.modules, "seismic", None)
    with pytest.raises(InputError, match=r"needs the extra seismic: pip install 'jaxir\[seismic\]'"):
        index.build(source, out, kind="seismic")
    assert not out.exists()


def test_negative_weights_of_a_foreign_index_are_refused(tmp_path):
    sparse_vectors.write(tmp_path / "v", toy.random_rows(5, 30, 4), list("abcde"))
    file = tmp_path / "v" / "values.npy"
    values = np.load(file)
    values[-1] = -1
    np.save(file, values)
    with pytest.raises(InputError, match=r"document 'e' \(row 4\) has a negative weight"):
        index.build(tmp_path / "v", tmp_path / "i", progress=False)


def test_damaged_engine_files(tmp_path, source):
    for kind, name in (("bmp", "index.bmp"), ("seismic", "index.index.seismic")):
        needs(kind)
        index.build(source, tmp_path / kind, kind=kind, progress=False)
        file = tmp_path / kind / "arrays" / name
        file.write_bytes(b"\xff" * file.stat().st_size)
        with pytest.raises(InputError, match="cannot read"):
            index.open(tmp_path / kind)


@pytest.mark.parametrize("kind", index.SPARSE_KINDS)
def test_a_full_disk_leaves_nothing_behind(tmp_path, kind):
    needs(kind)
    sparse_vectors.write(tmp_path / "v", toy.random_rows(4000, 3000, 100), [str(i) for i in range(4000)])
    with toy.small_disk(tmp_path / "disk", megabytes=1) as disk:
        with pytest.raises(OSError, match="No space left"):
            index.build(tmp_path / "v", disk / "i", kind=kind, progress=False)
        assert not list(disk.iterdir())
