"""Similarity of sentences: the files, the figures, what pairs sets share, and the command."""

import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from jaxir.checks import InputError
from jaxir.cli.main import main
from jaxir.evaluation import sts, sts_overlap, sts_run
from jaxir.types import Encoder, Reps

PAIRS = [(5.0, "a b", "b a"), (2.0, "a c", "c d"), (0.0, "a b", "d e"), (3.0, "a b", "a c")]


def write(path, pairs=PAIRS, header=False):
    path.parent.mkdir(exist_ok=True)
    lines = ["score\tsentence1\tsentence2"] * header + ["\t".join(map(str, pair)) for pair in pairs]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_with_a_header_and_without(tmp_path):
    plain = sts.read_sts(write(tmp_path / "one" / "test.tsv"))
    assert plain.name == "one/test"
    assert plain.gold.tolist() == [5, 2, 0, 3]
    assert plain.second == ["b a", "c d", "d e", "a c"]
    headed = sts.read_sts(write(tmp_path / "two" / "test.tsv", header=True))
    assert headed[1].tolist() == plain[1].tolist()
    assert sts.find_sts([tmp_path]) == [tmp_path / "one/test.tsv", tmp_path / "two/test.tsv"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1\ta\tb\n2\ta\n", "line 2: '2\\\\ta': expected tsv with three columns"),
        ("1\ta\tb\nnan\ta\tb\n", "line 2: the score is 'nan', expected a number"),
        ("1\ta\tb\n2\t\tb\n", "line 2"),
        ("1\ta\tb\n", "holds 1 pairs, a correlation needs at least 2"),
        ("1\ta\tb\n1\tb\tc\n", "gives all its 2 pairs the score 1"),
    ],
)
def test_what_is_no_set(tmp_path, text, sentence):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        sts.read_sts(tmp_path / "x.tsv")
    with pytest.raises(InputError, match="has no test"):
        sts.find_sts([tmp_path])
    with pytest.raises(InputError, match="given twice"):
        sts.find_sts([tmp_path / "x.tsv"] * 2)


def test_figures():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 50, 8)).astype(np.float32)
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    gold = np.round(cosines, 1).astype(float)  # many ties
    found = sts.sts_figures(first, second, gold)
    ranks = [[(np.sum(x < v) + np.sum(x <= v) + 1) / 2 for v in x] for x in (cosines, gold)]  # ties: the mean
    assert found["spearman"] == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert found["pearson"] == pytest.approx(np.corrcoef(cosines, gold)[0, 1], abs=1e-6)
    positive = np.maximum([first, second], 0)
    sparse = sts.sts_figures(*map(csr_array, positive), gold)
    assert sparse == pytest.approx(sts.sts_figures(*positive, gold))
    assert sts.cosine(np.zeros((1, 3)), np.ones((1, 3))).tolist() == [0]
    with pytest.raises(InputError, match="gives all 50 pairs the cosine 1: nothing to correlate"):
        sts.sts_figures(first, first, gold)
    with pytest.raises(InputError, match="all 50 pairs have the same score"):
        sts.sts_figures(first, second, np.ones(50))
    with pytest.raises(InputError, match="pair 0 has NaN"):
        sts.sts_figures(first * np.nan, second, gold)


def test_pairs_of_several_sets(tmp_path):
    write(tmp_path / "stsb" / "train.tsv", [(1, "x", "y"), (2, "C d", "A c")])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.tsv").write_text("a table of something else\n")
    sets = [
        sts.read_sts(write(tmp_path / "sts12" / "test.tsv")),
        sts.read_sts(write(tmp_path / "sts13" / "test.tsv", PAIRS[2:])),
    ]
    trained, twice = sts_overlap.warnings_of(sets)
    assert trained.startswith("stsb/train holds 1 of sts12/test's 4 pairs")
    assert twice.startswith("sts12/test shares pairs with 2 of sts13/test's 2")
    *_, named = sts_overlap.warnings_of(sets, trained_on='{"source": "data/sts/stsb"}')
    assert "names the STS Benchmark" in named
    assert "sts12/test, sts13/test" in named


def test_as_a_command(model, toy, tmp_path, monkeypatch, capsys):
    from jaxir.training import checkpoint

    texts = [doc.text.split() for doc in toy.docs][:6]
    pairs = [
        (n, " ".join(text), " ".join(text[:n] + other))
        for n, (text, other) in enumerate(itertools.pairwise(texts))
    ]
    (tmp_path / "sts").mkdir()
    file = write(tmp_path / "sts" / "near" / "test.tsv", pairs)
    monkeypatch.setattr(checkpoint, "load_model", lambda path, **options: model)
    main(["evaluate", "--model=toy", f"--sts={tmp_path / 'sts'}", f"--report={tmp_path / 'report'}"])
    said = capsys.readouterr().out
    figures = json.loads((tmp_path / "report" / "results.json").read_text())["figures"]["near/test"]
    assert figures["spearman"] > 0.5  # the more words two texts share, the nearer they are
    assert f"{figures['spearman']:.4f}" in said
    assert f"| near/test | 5 | {figures['spearman']:.4f} |" in (tmp_path / "report" / "sts.md").read_text()
    for flags, sentence in (
        ([f"--sts={file}"], "--sts needs --workdir=DIR"),
        ([f"--sts={file}", "--model=toy", "--source=x"], "--sts needs no --source"),
        (["--sts=nowhere.tsv", "--model=toy"], "there is no file nowhere.tsv"),
    ):
        with pytest.raises(SystemExit):
            main(["evaluate", *flags])
        assert sentence in capsys.readouterr().err


def test_the_mean_of_several_and_the_parts_of_a_hybrid(model, tmp_path):
    same = lambda params, tokens, side, **_: Reps(jnp.asarray(tokens.ids[:, :3], jnp.float32))
    part = Encoder(None, same, "dense", 3)
    hybrid = Encoder(None, same, "hybrid", 6, parts={"dense": part, "sparse": part._replace(kind="sparse")})
    sets = [sts.read_sts(write(tmp_path / name / "test.tsv", PAIRS[:n])) for name, n in (("x", 4), ("y", 3))]
    found = sts_run.evaluate_sts(model._replace(encoder=hybrid), sets, side="doc", progress=False)
    assert list(found.figures) == ["x/test", "y/test", "mean"]
    assert list(found.figures["mean"]) == [
        "spearman dense",
        "pearson dense",
        "spearman sparse",
        "pearson sparse",
    ]
    measure = "pearson sparse"
    assert (
        found.figures["mean"][measure]
        == (found.figures["x/test"][measure] + found.figures["y/test"][measure]) / 2
    )
    with pytest.raises(InputError, match="two files are both named x/test"):
        sts_run.evaluate_sts(model, [sets[0]] * 2)


def test_every_size_is_the_encoder_cut_to_it(model, tmp_path, monkeypatch, capsys):
    from jaxir.training import checkpoint

    def encode(params, tokens, *, side="query", layers=None, key=None):
        ids = jnp.where(tokens.mask, tokens.ids, 0).sum(-1, keepdims=True)
        deep = lambda layer: Reps(jnp.sin(ids * jnp.arange(1, 5) * layer))
        return deep(2) if layers is None else tuple(deep(layer) for layer in layers)

    layered = model._replace(encoder=Encoder(None, encode, dim=4, layers=2, normalized=False))
    monkeypatch.setattr(checkpoint, "load_model", lambda path, **options: layered)
    file = write(tmp_path / "one" / "test.tsv")
    flags = ["evaluate", "--model=toy", f"--sts={file}", f"--report={tmp_path / 'report'}"]
    main([*flags, "--grid", "--layers=1,2", "--dims=2,4"])
    table = capsys.readouterr().out
    grid = json.loads((tmp_path / "report" / "results.json").read_text())["sizes"]
    assert [(size["layers"], size["dims"]) for size in grid] == [(1, 2), (1, 4), (2, 2), (2, 4)]
    assert len((tmp_path / "report" / "sts.csv").read_text().splitlines()) == 5
    for size in (grid[0], grid[-1]):
        main([*flags, f"--layers={size['layers']}", f"--dims={size['dims']}"])
        alone = json.loads((tmp_path / "report" / "results.json").read_text())["figures"]["one/test"]
        assert alone == pytest.approx({m: size[m] for m in alone})
        assert f"{alone['spearman']:.4f}" in table
    with pytest.raises(SystemExit):
        main([*flags, "--grid", "--layers=3"])
    assert "layers=3: the encoder has layers 1 to 2" in capsys.readouterr().err
