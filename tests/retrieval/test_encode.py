"""Encoding: the right vectors in the right rows, restarts, meshes, what is refused."""

import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxir.checks import InputError
from jaxir.retrieval import encode, vectors
from jaxir.retrieval.ids import unpack_ids
from jaxir.types import Query
from tests.retrieval import toy

ENCODER = toy.encoder()
PARAMS = ENCODER.init(jax.random.key(0))
SOURCE = {"name": "toy", "fingerprint": "f", "path": "/somewhere"}


@pytest.fixture(scope="module")
def encode_fn():
    return encode.make_encode_fn(ENCODER, PARAMS)


def corpus(out, encode_fn, docs, **options):
    options = {"shard_docs": 30, "tokens_per_batch": 256, "progress": False, "source": SOURCE, **options}
    tokenize = options.pop("tokenize", toy.tokenize)
    encode.encode_corpus(encode_fn, docs, out, tokenize, **options)
    return vectors.read(out)


def test_texts(encode_fn):
    texts = ["one", "", "three words here", "a " * 40]
    got = encode.encode_texts(encode_fn, texts, toy.tokenize, tokens_per_batch=64)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, toy.vectors_of(PARAMS, texts), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_corpus(tmp_path, encode_fn, dtype):
    docs = toy.Docs(100)
    got = corpus(tmp_path / "v", encode_fn, docs, dtype=dtype, normalized=True, model="m", workdir="w")
    expected = toy.vectors_of(PARAMS, [d.text for d in docs])
    np.testing.assert_allclose(got.values, expected, atol=1e-5 if dtype == "float32" else 1e-3)
    assert unpack_ids(got.ids) == [d.doc_id for d in docs]
    facts = {"n": 100, "dim": 8, "dtype": dtype, "side": "doc", "normalized": True, "model": "m"}
    assert (facts | {"source": SOURCE, "workdir": "w"}).items() <= got.manifest.items()
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


def test_titles_prefixes_and_queries(tmp_path, encode_fn):
    docs = toy.Docs(10)
    with_title = corpus(tmp_path / "v", encode_fn, docs, text_fn=encode.make_text_fn("title+text"))
    expected = toy.vectors_of(PARAMS, [f"{d.title} {d.text}" for d in docs])
    np.testing.assert_allclose(with_title.values, expected, atol=1e-5)

    class Tokenizer:
        def encode_counted(self, texts, *, max_length):
            return [ids[:max_length] for ids in toy.tokenize(texts)], len(texts)

    class Queries:
        def __len__(self):
            return 3

        def rows(self, rows):
            return [Query(f"q{r}", f"find {r} and more") for r in rows]

    tokenize = encode.make_tokenize_fn(Tokenizer(), prefix="query: ", max_length=3)
    with pytest.warns(UserWarning, match="3 of 3 texts were longer than 3 tokens and were cut") as warned:
        got = corpus(tmp_path / "q", encode_fn, Queries(), tokenize=tokenize, side="query")
    assert len(warned) == 1
    expected = toy.vectors_of(PARAMS, [f"query: find {r}" for r in range(3)])
    np.testing.assert_allclose(got.values, expected, atol=1e-5)
    assert (unpack_ids(got.ids), got.manifest["side"]) == (["q0", "q1", "q2"], "query")


def interrupted(out, docs, after, **options):
    """Encodes until ``after`` calls, then dies as a Ctrl-C would; returns how many texts were read."""
    calls, read = [], []

    def dying(tokens):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return np.asarray(ENCODER.encode(PARAMS, tokens).values)

    def counting(texts):
        read.extend(texts)
        return toy.tokenize(texts)

    try:
        corpus(out, dying, docs, tokenize=counting, **options)
    except KeyboardInterrupt:
        assert not out.exists()
    return len(read)


def test_goes_on_where_it_was_stopped(tmp_path, encode_fn):
    docs = toy.Docs(100)
    whole = corpus(tmp_path / "whole", encode_fn, docs)
    interrupted(tmp_path / "v", docs, after=8)
    read = interrupted(tmp_path / "v", docs, after=10**9)
    assert 0 < read < 100
    got = vectors.read(tmp_path / "v")
    np.testing.assert_allclose(got.values, whole.values, atol=1e-6)
    np.testing.assert_array_equal(got.ids, whole.ids)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v", "whole"]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"source": {**SOURCE, "fingerprint": "g"}},
        {"settings": {"prefix": "p"}},
        {"dtype": "float16"},
        {"side": "query"},
        {"shard_docs": 20},
    ],
)
def test_a_partial_result_of_something_else_is_not_continued(tmp_path, change):
    docs = toy.Docs(100)
    interrupted(tmp_path / "v", docs, after=8)
    assert interrupted(tmp_path / "v", docs, after=10**9, **change) == 100


def test_killed_between_the_last_shard_and_the_name(tmp_path, encode_fn, monkeypatch):
    docs = toy.Docs(70)

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    for step in ("check_unique", "write_manifest"):
        with monkeypatch.context() as patch:
            patch.setattr(f"jaxir.retrieval.shards.{step}", die)
            with pytest.raises(KeyboardInterrupt):
                corpus(tmp_path / "v", encode_fn, docs)
        assert not (tmp_path / "v").exists()
    assert interrupted(tmp_path / "v", docs, after=0) == 0  # nothing is encoded again
    assert len(vectors.read(tmp_path / "v").ids) == 70


def test_sigkill(tmp_path):
    program = textwrap.dedent(
        """
        import os, signal, sys
        import numpy as np
        from jaxir.retrieval.encode import encode_corpus
        from tests.retrieval import toy
        done = []
        def fn(tokens):
            done.append(1)
            if len(done) == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            return np.where(tokens.mask, tokens.ids, 0).sum(1, keepdims=True).astype(np.float32)
        encode_corpus(fn, toy.Docs(200), sys.argv[1], toy.tokenize, shard_docs=20, progress=False)
        print(len(done))
        """
    )

    def run(kill_at):
        return subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "v"), str(kill_at)],
            capture_output=True,
            text=True,
        )

    assert run(7).returncode == -signal.SIGKILL
    assert not (tmp_path / "v").exists()
    assert int(run(0).stdout) < 10 - 5 + 2
    got = vectors.read(tmp_path / "v")
    expected = [ids.sum() for ids in toy.tokenize([d.text for d in toy.Docs(200)])]
    np.testing.assert_array_equal(got.values[:, 0], expected)


def test_a_mesh_gives_the_same_vectors(tmp_path, encode_fn):
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    sharded = {"table": jax.device_put(PARAMS["table"], NamedSharding(mesh, PartitionSpec("fsdp")))}
    texts = [d.text for d in toy.Docs(45)]
    expected = encode.encode_texts(encode_fn, texts, toy.tokenize)
    for params in (PARAMS, sharded, jax.tree.map(np.asarray, PARAMS)):
        on_mesh = encode.make_encode_fn(ENCODER, params, mesh=mesh)
        for count in (45, 1, 8):  # rows that the devices do not divide are padded
            got = encode.encode_texts(on_mesh, texts[:count], toy.tokenize, tokens_per_batch=100)
            np.testing.assert_allclose(got, expected[:count], atol=1e-6)


def test_few_shapes_are_compiled(tmp_path):
    shapes = set()

    def fn(tokens):
        shapes.add(tokens.ids.shape)
        return np.zeros((len(tokens.ids), 2), np.float32)

    docs = toy.Docs(2000, words=60)
    corpus(tmp_path / "v", fn, docs, shard_docs=1000, tokens_per_batch=1024)
    assert {length for _, length in shapes} <= {16, 32, 48, 64}
    assert len(shapes) <= 5


def test_no_step_exceeds_the_encoder():
    lengths = set()

    def fn(tokens):
        lengths.add(tokens.ids.shape[1])
        return np.zeros((len(tokens.ids), 2), np.float32)

    encode.encode_texts(fn, ["a " * 20], toy.tokenize, max_length=20)
    assert lengths == {20}


def test_bad_input(tmp_path, encode_fn):
    with pytest.raises(InputError, match="no texts"):
        encode.encode_texts(encode_fn, [], toy.tokenize)
    with pytest.raises(InputError, match="collection is empty"):
        corpus(tmp_path / "v", encode_fn, toy.Docs(0))
    with pytest.raises(InputError, match="dtype 'int8'"):
        corpus(tmp_path / "v", encode_fn, toy.Docs(3), dtype="int8")
    with pytest.raises(InputError, match="doc_text 'body'"):
        encode.make_text_fn("body")
    with pytest.raises(InputError, match="'tokens' representations"):
        encode.make_encode_fn(ENCODER._replace(kind="tokens"), PARAMS)
    with pytest.raises(InputError, match="shard_docs is 0"):
        corpus(tmp_path / "v", encode_fn, toy.Docs(3), shard_docs=0)
    assert not list(tmp_path.iterdir())
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "mine").touch()
    with pytest.raises(InputError, match="exists already"):
        corpus(tmp_path / "v", encode_fn, toy.Docs(3))
    corpus(tmp_path / "v", encode_fn, toy.Docs(3), overwrite=True)
    with pytest.raises(InputError, match=r"vectors\.npy cannot be written"):
        corpus(tmp_path / "v" / "vectors.npy" / "v", encode_fn, toy.Docs(3))


def test_repeated_ids(tmp_path, encode_fn):
    docs = toy.Docs(50)
    docs.doc = lambda row: toy.Docs(50).doc(row % 45)
    with pytest.raises(InputError, match="'doc-0' occurs more than once"):
        corpus(tmp_path / "v", encode_fn, docs)
    assert not (tmp_path / "v").exists()


def test_vectors_that_are_not_finite(tmp_path):
    def broken(tokens):
        values = np.ones((len(tokens.ids), 2), np.float32)
        values[(tokens.mask.sum(1) == 3), 1] = np.nan
        return values

    with pytest.raises(InputError, match=r"text 1 \('a b c'\) has NaN"):
        encode.encode_texts(broken, ["a", "a b c"], toy.tokenize)
    with pytest.raises(InputError, match=r"record 'doc-\d+' in float32 has NaN"):
        corpus(tmp_path / "v", broken, toy.Docs(50))

    def large(tokens):
        return np.full((len(tokens.ids), 2), 1e6, np.float32)

    with pytest.raises(InputError, match="in float16 has NaN or infinity"):
        corpus(tmp_path / "v", large, toy.Docs(5), dtype="float16")
    assert not (tmp_path / "v").exists()


def test_the_bar_shows_rates(tmp_path, encode_fn, capsys):
    corpus(tmp_path / "v", encode_fn, toy.Docs(40), progress=True)
    shown = capsys.readouterr().err
    assert "40/40" in shown
    assert "tokens/s" in shown


def test_a_full_disk_keeps_the_finished_shards_only(tmp_path):
    def wide(tokens):
        return np.full((len(tokens.ids), 1024), tokens.mask.sum(), np.float32)

    with toy.small_disk(tmp_path / "disk", megabytes=1) as disk:
        with pytest.raises(OSError, match="No space left"):
            corpus(disk / "v", wide, toy.Docs(600))
        assert not (disk / "v").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        read = []
        tokenize = lambda texts: read.extend(texts) or toy.tokenize(texts)
        got = corpus(disk / "v", wide, toy.Docs(600), tokenize=tokenize)
        assert 0 < len(read) < 600
        assert len(got.ids) == len(got.values) == 600
