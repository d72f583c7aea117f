"""Both kinds of index through build and open: results, options, and what is refused."""

import json
import os
import shutil

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.cli.main import main
from jaxir.retrieval import exact, index, scann, vectors
from tests.retrieval import toy

DIM = 16


def clustered(n, dim=DIM, seed=0):
    """Vectors with the structure of embeddings: topics of very different sizes, and noise."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(40, dim))
    weights = rng.dirichlet(np.full(40, 0.3))
    values = topics[rng.choice(40, n, p=weights)] + 0.8 * rng.normal(size=(n, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "v"
    values = clustered(3000) * np.linspace(0.5, 2, 3000, dtype=np.float32)[:, None]
    ids = [f"d{i}" for i in range(3000)]
    vectors.write(path, values, ids, model="abc", model_path="/m", source={"name": "toy"})
    return path


@pytest.fixture(scope="module")
def queries():
    return clustered(20, seed=5)


OPTIONS = {
    "exact": ("exact", {}),
    "scann brute": ("scann", {}),
    "scann tree": ("scann", {"force_tree": True, "leaves_to_search": 55}),
}


@pytest.fixture(scope="module", params=OPTIONS)
def built(request, source, tmp_path_factory):
    kind, options = OPTIONS[request.param]
    path = tmp_path_factory.mktemp("index") / "i"
    index.build(source, path, kind=kind, progress=False, **options)
    return path


def test_search_finds_true_dot_products(built, source, queries):
    opened = index.open(built)
    scores, rows = opened.search(queries, 50)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    values = vectors.read(source).values
    np.testing.assert_allclose(
        scores, np.take_along_axis(queries @ values.T, rows, axis=1), rtol=1e-5, atol=1e-5
    )
    _, truth = exact.search_numpy(queries, 50, vectors=values)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(rows, truth)]) > 0.95
    assert (np.diff(scores, axis=1) <= 0).all()
    assert opened.size == 3000
    assert opened.doc_ids(rows[0][:2]) == [f"d{r}" for r in rows[0][:2]]
    kept = {"model": "abc", "model_path": "/m", "source": {"name": "toy"}, "metric": "dot"}
    assert kept.items() <= opened.manifest.items()


def test_an_index_can_be_moved(built, queries, tmp_path):
    expected = index.open(built).search(queries, 5)
    shutil.copytree(built, tmp_path / "elsewhere")
    hidden = built.with_suffix(".hidden")
    os.rename(built, hidden)
    try:
        got = index.open(tmp_path / "elsewhere", verify=True).search(queries, 5)
    finally:
        os.rename(hidden, built)
    np.testing.assert_array_equal(got[1], expected[1])


def test_k_up_to_the_whole_corpus(built, queries):
    scores, rows = index.open(built).search(queries[:3], 3000)
    assert [sorted(r) for r in rows.tolist()] == [list(range(3000))] * 3
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("values", "k", "sentence"),
    [
        (np.zeros((1, DIM)), 3001, "k is 3001, but there are only 3000 documents"),
        (np.zeros((1, DIM)), 0, "at least 1"),
        (np.zeros((2, DIM + 1)), 5, rf"\(2, {DIM + 1}\).* dimension {DIM}"),
        (np.zeros(DIM), 5, rf"\({DIM},\).* dimension {DIM}"),
        (np.array([[0.0] * DIM, [np.nan] * DIM]), 5, "query 1 has NaN"),
        (np.full((1, DIM), 1e30), 5, "query 0 has NaN, infinity or far too large"),
    ],
)
def test_bad_queries(built, values, k, sentence):
    with pytest.raises(InputError, match=sentence):
        index.open(built).search(values.astype(np.float32), k)


def test_no_queries(built):
    scores, rows = index.open(built).search(np.zeros((0, DIM), np.float32), 4)
    assert scores.shape == rows.shape == (0, 4)


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_cosine(source, queries, tmp_path, kind):
    index.build(source, tmp_path / "i", kind=kind, metric="cosine", progress=False)
    opened = index.open(tmp_path / "i")
    scores, _ = opened.search(7 * queries, 10)
    values = vectors.read(source).values
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = queries @ values.T / np.linalg.norm(queries, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :10], atol=1e-5)
    assert (opened.metric, opened.manifest["normalized"]) == ("cosine", True)
    zero = opened.search(np.zeros((1, DIM), np.float32), 3)
    assert zero[0].tolist() == [[0, 0, 0]]


def test_float16_stays_float16(tmp_path, queries):
    values = clustered(500).astype(np.float16)
    vectors.write(tmp_path / "v", values, [str(i) for i in range(500)])
    index.build(tmp_path / "v", tmp_path / "i", progress=False)
    index.build(tmp_path / "v", tmp_path / "s", kind="scann", progress=False)
    assert (tmp_path / "i" / "arrays" / "vectors.npy").stat().st_size < 500 * DIM * 2 + 200
    a, b = index.open(tmp_path / "i").search(queries, 9), index.open(tmp_path / "s").search(queries, 9)
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5)


def test_jax_backend_gives_the_same_rows(source, queries, tmp_path):
    index.build(source, tmp_path / "i", progress=False)
    a = index.open(tmp_path / "i", backend="numpy").search(queries, 30)
    b = index.open(tmp_path / "i", backend="jax", block_rows=1000).search(queries, 30)
    np.testing.assert_array_equal(a[1], b[1])


def test_equal_vectors_tie_at_the_lowest_row(tmp_path):
    vectors.write(tmp_path / "v", np.ones((40, 4), np.float32), [str(i) for i in range(40)])
    for kind in index.DENSE_KINDS:
        index.build(tmp_path / "v", tmp_path / kind, kind=kind, progress=False)
        assert index.open(tmp_path / kind).search(np.ones((1, 4)), 40)[1].tolist() == [list(range(40))]


def test_the_measured_rule_reaches_its_recall_with_a_fraction_of_the_leaves(tmp_path):
    values = clustered(12_000, dim=32)  # above the brute-force limit
    vectors.write(tmp_path / "v", values, [str(i) for i in range(len(values))])
    vectors.write(tmp_path / "q", clustered(300, dim=32, seed=9), [str(i) for i in range(300)])
    index.build(tmp_path / "v", tmp_path / "i", kind="scann", queries=tmp_path / "q", progress=False)
    chosen = json.loads((tmp_path / "i" / "manifest.json").read_text())["options"]
    assert chosen["tree"]
    assert chosen["leaves"] == 110
    assert chosen["measured_on"] == "queries"
    assert chosen["measured_recall@100"] >= chosen["target_recall"] == 0.97
    assert chosen["leaves_to_search"] < 0.7 * chosen["leaves"]
    fresh = clustered(200, dim=32, seed=10)
    opened = index.open(tmp_path / "i")
    _, truth = exact.search_numpy(fresh, 100, vectors=values)
    rows = opened.search(fresh, 100)[1]
    assert np.mean([np.isin(a, b).mean() for a, b in zip(rows, truth)]) > 0.95


def test_what_the_leaves_do_not_hold_is_not_found(source, queries, tmp_path, monkeypatch):
    index.build(source, tmp_path / "i", kind="scann", force_tree=True, leaves_to_search=1, progress=False)
    monkeypatch.setattr(scann.math, "ceil", lambda x: 1)  # no widening for large k
    scores, rows = index.open(tmp_path / "i").search(queries, 1500)
    missing = rows == -1
    assert missing.any()
    assert np.isneginf(scores[missing]).all()
    assert np.isfinite(scores[~missing]).all()
    for row in rows:
        found = row[row >= 0]
        assert len(set(found.tolist())) == len(found)
        assert (row[len(found) :] == -1).all()


def test_bad_options(source, tmp_path):
    out = tmp_path / "i"
    with pytest.raises(InputError, match=r"kind of index 'scan'.*'scann'"):
        index.build(source, out, kind="scan")
    with pytest.raises(InputError, match="metric 'l2'"):
        index.build(source, out, metric="l2")
    with pytest.raises(InputError, match=r"option of a ScaNN index 'leafs'.*'leaves'"):
        index.build(source, out, kind="scann", leafs=3)
    with pytest.raises(InputError, match="exact index has no options, given: leaves"):
        index.build(source, out, leaves=3)
    with pytest.raises(InputError, match="leaves is 0"):
        index.build(source, out, kind="scann", force_tree=True, leaves=0, progress=False)
    with pytest.raises(InputError, match="9000 leaves needs at least 9000 documents, there are 3000"):
        index.build(source, out, kind="scann", force_tree=True, leaves=9000, progress=False)
    with pytest.raises(InputError, match="there is no directory"):
        index.build(tmp_path / "nowhere", out)
    assert not list(tmp_path.iterdir())


def test_vectors_that_are_not_finite(tmp_path):
    values = np.ones((5, 3), np.float32)
    values[3, 1] = np.nan
    vectors.write(tmp_path / "v", values, list("abcde"))
    for kind in index.DENSE_KINDS:
        with pytest.raises(InputError, match=r"document 'd' \(row 3\) has NaN"):
            index.build(tmp_path / "v", tmp_path / "i", kind=kind, progress=False)
    vectors.write(tmp_path / "none", np.zeros((0, 3), np.float32), [])
    with pytest.raises(InputError, match="holds no vectors"):
        index.build(tmp_path / "none", tmp_path / "i", progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["none", "v"]


def test_existing_output(source, tmp_path):
    index.build(source, tmp_path / "i", progress=False)
    with pytest.raises(InputError, match="exists already"):
        index.build(source, tmp_path / "i", progress=False)
    index.build(source, tmp_path / "i", metric="cosine", overwrite=True, progress=False)
    assert index.open(tmp_path / "i").metric == "cosine"


@pytest.mark.parametrize("kind", index.DENSE_KINDS)
def test_a_full_disk_leaves_nothing_behind(tmp_path, kind, capsys):
    vectors.write(tmp_path / "v", np.ones((4000, 512), np.float32), [str(i) for i in range(4000)])
    with toy.small_disk(tmp_path / "disk", megabytes=4) as disk:
        with pytest.raises(SystemExit) as stopped:
            main(["index", f"--vectors={tmp_path / 'v'}", f"--out={disk / 'i'}", f"--kind={kind}"])
        assert stopped.value.code == 2
        assert not list(disk.iterdir())
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("jaxir: the disk is full")


def test_torn_and_foreign_directories(built, tmp_path):
    with pytest.raises(InputError, match="there is no directory"):
        index.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not written by jaxir"):
        index.open(tmp_path)
    files = [f.relative_to(built) for f in built.rglob("*") if f.is_file()]
    for file in files:
        if file.name == "manifest.json":
            continue
        torn = tmp_path / "torn"
        shutil.copytree(built, torn)
        (torn / file).write_bytes((torn / file).read_bytes()[:-1])
        with pytest.raises(InputError, match="damaged"):
            index.open(torn)
        (torn / file).unlink()
        with pytest.raises(InputError, match="damaged"):
            index.open(torn)
        shutil.rmtree(torn)


def test_manifests_that_contradict_the_arrays(built, tmp_path):
    shutil.copytree(built, tmp_path / "i")
    manifest = tmp_path / "i" / "manifest.json"
    facts = json.loads(manifest.read_text())
    for change in ({"n": 7}, {"index_kind": "os:system"}, {"metric": "l2"}, {"n": "many"}):
        manifest.write_text(json.dumps(facts | change))
        with pytest.raises(InputError, match="damaged"):
            index.open(tmp_path / "i")
    manifest.write_text(json.dumps(facts | {"kind": "vectors"}))
    with pytest.raises(InputError, match="holds 'vectors', expected 'index'"):
        index.open(tmp_path / "i")


def test_a_pickle_in_a_foreign_index_is_not_run(source, tmp_path):
    index.build(source, tmp_path / "i", kind="scann", progress=False)
    (tmp_path / "i" / "arrays" / "scann_docids.pkl").write_bytes(
        f"cos\nsystem\n(S'touch {tmp_path}/ran'\ntR.".encode()
    )
    index.open(tmp_path / "i")
    assert not (tmp_path / "ran").exists()


def test_a_scann_index_that_names_files_elsewhere(source, tmp_path):
    index.build(source, tmp_path / "i", kind="scann", progress=False)
    assets = tmp_path / "i" / "arrays" / "scann_assets.pbtxt"
    text = assets.read_text()
    manifest = json.loads((tmp_path / "i" / "manifest.json").read_text())
    for name in ("/etc/passwd", "../../other.npy"):
        assets.write_text(text.replace("dataset.npy", name))
        manifest["files"]["arrays/scann_assets.pbtxt"]["bytes"] = assets.stat().st_size
        (tmp_path / "i" / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(InputError, match=f"names the file '{name}'"):
            index.open(tmp_path / "i")


def test_the_library_s_log_is_hidden(source, tmp_path, capfd):
    index.build(source, tmp_path / "i", kind="scann", force_tree=True, progress=False)
    index.open(tmp_path / "i")
    assert capfd.readouterr().err == ""
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"
