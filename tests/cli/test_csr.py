"""jaxir csr as a user runs it, without a process for each command."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.cli.main import main
from jaxir.files import read_json
from jaxir.models import saved_autoencoder
from jaxir.retrieval import codes, index, sparse_vectors, vectors

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(90, 6)).astype(np.float32)
SMALL = ("--k=4", "--latents=20", "--steps=3", "--batch_size=8", "--aux_k=4")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory of vectors, queries with judgements, and an autoencoder of them."""
    home = tmp_path_factory.mktemp("csr")
    ids = [f"d{i}" for i in range(90)]
    vectors.write(home / "vectors", VECTORS, ids, model="m1", settings={"prefix": ""})
    vectors.write(home / "queries", VECTORS[:5], [f"q{i}" for i in range(5)], side="query", model="m1")
    lines = [f"q{i} 0 d{i} 1\n" for i in range(5)] + ["q1 0 d9 0\n", "absent 0 d1 1\n"]
    (home / "qrels").write_text("".join(lines))
    flags = [f"--vectors={home}/vectors", f"--queries={home}/queries", f"--qrels={home}/qrels"]
    main(["csr", *flags, f"--out={home}/csr", *SMALL])
    return home


def test_training_says_what_came_out(home, capsys):
    np.save(home / "plain.npy", VECTORS.astype(np.float64))
    main(["csr", f"--vectors={home}/plain.npy", f"--out={home}/plain", *SMALL])
    out = capsys.readouterr().out
    assert "explained variance" in out
    assert "dead latents" in out
    assert "active dimensions" in out
    assert read_json(home / "csr" / "manifest.json")["pairs"] == 5  # grade 0 and unknown queries left out
    assert read_json(home / "plain" / "manifest.json")["options"]["steps"] == 3


def test_codes_on_disk_are_those_of_the_autoencoder_and_a_sparse_index_searches_them(home):
    main(["csr", f"--model={home}/csr", f"--vectors={home}/vectors", "--k=3", f"--out={home}/codes"])
    written, saved = sparse_vectors.read(home / "codes"), saved_autoencoder.load(home / "csr")
    direct = np.asarray(saved.autoencoder.encode(saved.params, jnp.asarray(VECTORS), 3))
    lengths = np.linalg.norm(direct, axis=1, keepdims=True)
    direct = direct / np.where(lengths == 0, 1, lengths)
    np.testing.assert_allclose(written.rows().toarray(), direct, rtol=1e-5, atol=1e-7)
    assert written.manifest["model"] == "m1"
    main(["index", f"--vectors={home}/codes", "--kind=sparse", f"--out={home}/index"])
    opened = index.open(home / "index")
    # What jaxir search does with the vectors of its queries.
    encode = codes.through_autoencoder(
        opened.manifest["settings"], lambda texts: VECTORS[[int(t) for t in texts]]
    )
    scores, rows = opened.search(encode(["3", "80"]), 90)
    expected = direct[[3, 80]] @ direct.T
    for found, at, all_scores in zip(scores, rows, expected):
        real = at >= 0
        assert real.sum() == (all_scores > 0).sum()
        np.testing.assert_allclose(found[real], all_scores[at[real]], rtol=1e-5)
    assert codes.through_autoencoder({"prefix": ""}, len) is len


@pytest.mark.parametrize(
    ("file", "array", "text"),
    [
        (
            "nan.npy",
            np.where(np.arange(4)[:, None] == 2, np.nan, np.ones((4, 6))),
            r"row 2 of .*nan\.npy .* NaN",
        ),
        ("flat.npy", np.ones(6), r"float64 \(6,\), expected floats \[n, d\]"),
        ("whole.npy", np.ones((4, 6), int), r"int64 \(4, 6\), expected floats"),
        ("none.npy", np.ones((0, 6)), "holds no vectors"),
        ("width.npy", np.ones((4, 5)), "the autoencoder takes 6 dimensions"),
        ("absent.npy", None, r"there is no .*absent\.npy"),
    ],
)
def test_vectors_that_cannot_be_encoded(home, tmp_path, capsys, file, array, text):
    if array is not None:
        np.save(tmp_path / file, array)
    refused(capsys, text, f"--model={home}/csr", f"--vectors={tmp_path / file}", f"--out={tmp_path}/codes")
    assert not (tmp_path / "codes").exists()


def test_flags_that_do_not_fit(home, tmp_path, capsys):
    given, out = f"--vectors={home}/vectors", f"--out={tmp_path}/out"
    refused(capsys, "needs --vectors and --out", given)
    refused(capsys, "--steps is for training", given, out, f"--model={home}/csr", "--steps=3")
    refused(capsys, "--queries and --qrels go together", given, out, f"--queries={home}/queries")
    refused(capsys, "has 20 latents", given, out, f"--model={home}/csr", "--k=21")
    refused(capsys, "exists already", given, f"--out={home}/csr")
    vectors.write(tmp_path / "other", VECTORS, [str(i) for i in range(90)], model="m2")
    refused(capsys, "by another model", f"--vectors={tmp_path}/other", out, f"--model={home}/csr")


def refused(capsys, text, *flags):
    with pytest.raises(SystemExit) as stopped:
        main(["csr", *flags])
    assert stopped.value.code == 2
    assert re.search(text, capsys.readouterr().err)
