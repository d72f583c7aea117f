"""Sparse vectors on disk: the right rows, restarts, several processes, bags of words, what is refused."""

import jax
import numpy as np
import pytest
from scipy.sparse import csr_array

from jaxir import processes
from jaxir.checks import InputError
from jaxir.files import read_manifest
from jaxir.retrieval import encode, sparse_vectors, vectors
from jaxir.retrieval.ids import unpack_ids
from tests.retrieval import toy
from tests.retrieval.together import Together

ENCODER = toy.sparse_encoder()
PARAMS = ENCODER.init(jax.random.key(0))


@pytest.fixture(scope="module")
def encode_fn():
    return encode.make_encode_fn(ENCODER, PARAMS)


def corpus(out, encode_fn, docs, **options):
    options = {"shard_docs": 30, "tokens_per_batch": 1024, "ladder": (32,), "progress": False, **options}
    encode.encode_corpus(encode_fn, docs, out, toy.tokenize, **options)
    return sparse_vectors.read(out)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_corpus(tmp_path, encode_fn, dtype):
    docs = toy.Docs(100)
    got = corpus(tmp_path / "v", encode_fn, docs, dtype=dtype, model="m")
    expected = toy.sparse_of(PARAMS, [d.text for d in docs])
    np.testing.assert_allclose(got.rows().toarray(), expected, rtol=1e-5 if dtype == "float32" else 1e-3)
    np.testing.assert_array_equal(got.rows(slice(31, 65)).toarray(), got.rows().toarray()[31:65])
    assert got.rows().has_canonical_format
    assert (got.rows().data > 0).all()
    assert str(got.values.dtype) == dtype
    assert unpack_ids(got.ids) == [d.doc_id for d in docs]
    facts = {"layout": "sparse", "nnz": int((expected > 0).sum()), "n": 100, "dim": toy.VOCABULARY}
    assert (facts | {"dtype": dtype, "model": "m"}).items() <= got.manifest.items()
    with pytest.raises(InputError, match=r"holds sparse vectors.*kind sparse, seismic or bmp"):
        vectors.read(tmp_path / "v")


def test_same_bytes_for_any_number_of_processes_and_kills(tmp_path, monkeypatch, encode_fn):
    docs, calls = toy.Docs(200), []

    def counted(tokens):
        calls.append(processes.index())
        return encode_fn(tokens)

    def dying(tokens):
        if processes.index() == 1:
            raise KeyboardInterrupt
        return encode_fn(tokens)

    counted.kind = dying.kind = "sparse"
    corpus(tmp_path / "one", counted, docs)
    whole = len(calls)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Together(patch, 3).run(lambda: corpus(tmp_path / "v", dying, docs))
    calls.clear()
    Together(monkeypatch, 2).run(lambda: corpus(tmp_path / "v", counted, docs))
    assert 0 < len(calls) < whole  # process 0 had encoded its part
    read = lambda name: {f.name: f.read_bytes() for f in (tmp_path / name).iterdir()}
    assert read("v") == read("one")
    assert read_manifest(tmp_path / "v", "vectors", verify=True)["n"] == 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "v"]


def test_a_torn_last_write_is_cut_off(tmp_path, encode_fn, monkeypatch):
    docs = toy.Docs(70)
    whole = corpus(tmp_path / "whole", encode_fn, docs)
    with monkeypatch.context() as patch:
        patch.setattr("jaxir.retrieval.shards.write_json", die)
        with pytest.raises(KeyboardInterrupt):
            corpus(tmp_path / "v", encode_fn, docs)
    with (tmp_path / ".v.partial" / "values.npy").open("ab") as file:
        file.write(b"rest of another shard")
    got = corpus(tmp_path / "v", encode_fn, docs)
    np.testing.assert_array_equal(got.rows().toarray(), whole.rows().toarray())


def die(*args):
    raise KeyboardInterrupt


def test_bags_of_words_need_no_device(monkeypatch):
    table = np.asarray(PARAMS["weights"])
    encoder = ENCODER._replace(table=lambda params: params["weights"])
    fn = encode.make_encode_fn(encoder, PARAMS, side="query")
    texts = ["a b b", "", "c a c d"]
    active = toy.sparse_of(PARAMS, texts) > 0
    monkeypatch.setattr(jax, "jit", die)
    got = encode.encode_texts(fn, texts, toy.tokenize)
    np.testing.assert_array_equal(got.toarray(), active * table)


def test_bad_weights_name_the_document(tmp_path):
    def broken(tokens):
        values = np.ones((len(tokens.ids), 3), np.float32)
        values[tokens.mask.sum(1) == 3, 1] = bad[0]
        return values

    broken.kind = "sparse"
    bad = [0.0]
    for bad[0], what in ((np.nan, "NaN or infinity"), (-0.5, "a negative weight")):
        with pytest.raises(InputError, match=rf"text 1 \('a b c'\) has {what}"):
            encode.encode_texts(broken, ["a", "a b c"], toy.tokenize)
        with pytest.raises(InputError, match=rf"record 'doc-\d+' in float32 has {what}"):
            corpus(tmp_path / "v", broken, toy.Docs(50))
    assert not (tmp_path / "v").exists()


def test_what_is_in_memory_already(tmp_path):
    rows = csr_array(np.array([[0, 2.0, 1.0], [0, 0, 0]], np.float32))
    rows.data[1] = 0  # an explicit zero
    sparse_vectors.write(tmp_path / "v", rows, ["a", "b"], model="m")
    got = sparse_vectors.read(tmp_path / "v")
    assert (got.rows().nnz, got.shape, got.manifest["model"]) == (1, (2, 3), "m")
    assert rows.nnz == 2  # the caller's stay as they were
    rows.data[0] = -1
    with pytest.raises(InputError, match="of 'a' has a negative weight"):
        sparse_vectors.write(tmp_path / "w", rows, ["a", "b"])
    with pytest.raises(InputError, match="2 vectors come with 1 ids"):
        sparse_vectors.write(tmp_path / "w", rows, ["a"])
    with pytest.raises(InputError, match="dtype 'float64'"):
        sparse_vectors.write(tmp_path / "w", rows, ["a", "b"], dtype="float64")
    vectors.write(tmp_path / "dense", np.ones((1, 2), np.float32), ["a"])
    with pytest.raises(InputError, match=r"holds dense vectors.*kind exact or scann"):
        sparse_vectors.read(tmp_path / "dense")
    np.save(tmp_path / "v" / "indptr.npy", np.zeros(3, np.int64))
    with pytest.raises(InputError, match="is damaged"):
        sparse_vectors.read(tmp_path / "v")
