"""The grid of sizes: a cell is what the ordinary chain finds with a model that is cut."""

import csv
import json

import jax
import numpy as np
import pytest
from absl import flags

from jaxir.checks import InputError
from jaxir.cli import evaluate
from jaxir.evaluation import chain, sizes, sizes_check, sizes_report, stages
from jaxir.evaluation.sizes_cut import largest_terms, prefix
from jaxir.files import MANIFEST
from jaxir.models.cut import cut, cut_reps
from jaxir.models.encoder import transformer
from jaxir.models.hybrid import hybrid
from jaxir.models.sparse import splade
from jaxir.retrieval import encode, sparse_vectors
from jaxir.types import Reps

pytestmark = pytest.mark.filterwarnings("ignore:.* were cut")

MEASURES = ("MRR@10", "nDCG@10")
LIST = dict(fn="jaxir.objectives:starbucks", sizes=((1, 4), (2, 16)))


@pytest.fixture(scope="module")
def short(model):
    """A config by which all texts have one length: little is compiled."""
    return {**model.config, "max_length": {"query": 16, "doc": 16}, "ladder": (16,)}


@pytest.fixture(scope="module")
def layered(model, short):
    """Two layers of 16 dimensions, trained at (1, 4) and (2, 16) as its config says."""
    encoder = transformer(model.tokenizer.vocab_size, layers=2, dim=16, heads=2)
    params = encoder.init(jax.random.key(1))
    config = {**short, "nested": LIST}
    return model._replace(encoder=encoder, params=params, config=config, fingerprint="toy-layers")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def found(layered, toy, workdir):
    return sizes.evaluate_sizes(layered, toy, workdir, measures=MEASURES, progress=False)


def of_chain(model, toy, workdir, layers, dims, run):
    small = model._replace(
        encoder=cut(model.encoder, layers=layers, dims=dims), fingerprint=f"{layers} {dims}"
    )
    plain = dict(measures=MEASURES, bm25=False, dev_split=None, progress=False)
    return chain.evaluate_chain(small, toy, workdir, **plain).figures[run]


def test_each_size_measures_as_the_model_that_is_cut(found, layered, toy, workdir):
    assert (found.layers, found.dims) == ((1, 2), (4, 16))
    assert [(s.layers, s.dims) for s in found.sizes] == [(1, 4), (1, 16), (2, 4), (2, 16)]
    assert found.sizes[0].figures == pytest.approx(of_chain(layered, toy, workdir, 1, 4, "dense_exact"))
    assert found.sizes[3].figures == pytest.approx(of_chain(layered, toy, workdir, 2, 16, "dense_exact"))
    assert len({s.figures["nDCG@10"] for s in found.sizes}) == 4
    assert [s.bytes_per_document for s in found.sizes] == [16, 64, 16, 64]
    assert all(s.milliseconds_per_text > 0 and s.milliseconds_per_query > 0 for s in found.sizes)
    assert found.bm25["MRR@10"] > 0.8  # of whole texts
    assert found.queries == 20
    assert {"encode", "time", "search", "measure", "bm25"} == set(found.seconds)


def test_other_widths_of_the_same_layers_encode_nothing(found, layered, toy, workdir, monkeypatch):
    monkeypatch.setattr(encode, "encode_corpus", None)
    again = sizes.evaluate_sizes(
        layered, toy, workdir, layers=[1, 2], dims=[3, 4], measures=MEASURES, bm25=False, progress=False
    )
    assert again.value(2, 4, "MRR@10") == found.value(2, 4, "MRR@10")
    assert again.bm25 is None
    assert not list(found.home.glob("index*"))
    assert len(list(found.home.glob(f"vectors-layers-1-2/{MANIFEST}"))) == 1


def test_what_was_stopped_is_gone_on_with(layered, toy, tmp_path, monkeypatch):
    whole = encode.encode_corpus
    monkeypatch.setattr(encode, "encode_corpus", lambda *a, **how: whole(*a, **how, shard_docs=20))
    count = []
    made = encode.encode_tokens

    def failing(fn, texts, *rest):
        count.append(len(texts))
        if len(count) == 3:
            raise KeyboardInterrupt
        return made(fn, texts, *rest)

    monkeypatch.setattr(encode, "encode_tokens", failing)
    how = dict(layers=(1, 2), dims=(4,), measures=MEASURES, bm25=False, progress=False)
    with pytest.raises(KeyboardInterrupt):
        sizes.evaluate_sizes(layered, toy, tmp_path, **how)
    sizes.evaluate_sizes(layered, toy, tmp_path, **how)
    assert count == [20, 20, 20, 20, 20, 20]  # the third shard twice, and the queries


def test_sparse_sizes_are_layers_and_active_terms(model, short, toy, tmp_path):
    vocab, special = model.tokenizer.vocab_size, model.tokenizer.special_ids
    encoder = splade(vocab, layers=2, dim=16, heads=2, special_ids=special)
    params = encoder.init(jax.random.key(0))
    sparse = model._replace(encoder=encoder, params=params, config=short, fingerprint="sparse")
    got = sizes.evaluate_sizes(
        sparse, toy, tmp_path, dims=(8, vocab), measures=MEASURES, bm25=False, progress=False
    )
    assert got.layers == (1, 2)
    assert got.sizes[0].figures == pytest.approx(of_chain(sparse, toy, tmp_path, 1, 8, "sparse_exact"))
    assert got.sizes[3].figures != got.sizes[2].figures != got.sizes[1].figures
    assert got.sizes[0].bytes_per_document == 8 * 8
    assert [got.name(d) for d in got.dims] == ["8", "all"]


def test_queries_of_a_table_are_not_cut():
    rows = lambda text: sparse_vectors.from_dense(np.array(text, np.float32))
    docs = sizes.Wide(rows([[1, 2, 0, 3, 0, 0], [2, 0, 1, 0, 0, 2]]), 3)  # 2 layers of 3 terms
    queries = sizes.Wide(rows([[1, 3, 0]]), 3)
    test = stages.Split(["q"], ["text"], {"q": {"a": 1}})
    how = dict(free=True, measures=("P@1",), depth=2, progress=False)
    got, _ = sizes.search_sizes(docs, queries, ["a", "b"], test, (1, 2), (1, 3), **how)
    # By the largest term alone document a has 2 x 3 against 2 x 1; at layer 2 only a's term is the query's.
    assert [s.figures["P@1"] for s in got] == [1, 1, 1, 1]
    other = test._replace(qrels={"q": {"b": 1}})
    got, _ = sizes.search_sizes(docs, queries, ["a", "b"], other, (1, 2), (1, 3), **how)
    assert [s.figures["P@1"] for s in got] == [0, 0, 0, 0]


def test_cutting_rows_is_cutting_representations():
    values = np.maximum(np.random.default_rng(0).normal(size=(40, 30)).round(1), 0).astype(np.float32)
    rows = sparse_vectors.from_dense(values)  # rounded: with ties
    for k in (1, 5, 30):
        expected = cut_reps(Reps(jax.numpy.asarray(values)), k, kind="sparse").values
        np.testing.assert_array_equal(largest_terms(rows, k).toarray(), expected)
    dense = np.stack([values[0], np.zeros(30, np.float32)])
    expected = cut_reps(Reps(jax.numpy.asarray(dense)), 7, normalized=True).values
    np.testing.assert_allclose(prefix(dense, 7, normalize=True), expected, rtol=1e-6)


def test_a_static_encoder_has_widths_only(model, toy, tmp_path):
    got = sizes.evaluate_sizes(model, toy, tmp_path, measures=MEASURES, bm25=False, progress=False)
    assert (got.layers, got.dims, got.trained) == ((0,), (1, 2, 4, 8, 16, 32), None)
    assert (got.home / "vectors").is_dir()  # those of the ordinary chain
    page = sizes_report.markdown(got)
    assert "| dimensions | MRR@10 | nDCG@10 | ms per text" in page
    (note,) = sizes_report.loss_notes(got, "MRR@10")
    loss = 1 - got.value(0, 1, "MRR@10") / got.value(0, 32, "MRR@10")
    assert note.startswith("not trained nested")
    assert f"1 of 32 dimensions: {loss:.0%} less" in note


def test_the_report(found, tmp_path):
    out = sizes_report.write_sizes_report(tmp_path / "report", found, title="toy", facts={"split": "test"})
    rows = list(csv.DictReader((out / "sizes.csv").open()))
    assert [(r["layers"], r["dims"], r["trained"]) for r in rows] == [
        *(("1", "4", "1"), ("1", "16", "0"), ("2", "4", "0"), ("2", "16", "1"))
    ]
    assert float(rows[2]["MRR@10"]) == found.value(2, 4, "MRR@10")
    read = json.loads((out / "sizes.json").read_text())
    assert read["sizes"][2]["ms_per_text"] == found.sizes[2].milliseconds_per_text
    assert (read["split"], read["docs"], read["trained"]) == ("test", 80, [[1, 4], [2, 16]])
    assert (out / "grid.png").read_bytes()[:4] == b"\x89PNG"
    page = (out / "sizes.md").read_text()
    assert "| 2 | 16* |" in page
    assert "| BM25 |" in page
    assert "2 of the 4 sizes were not trained" in page
    with pytest.raises(InputError, match="not a report"):
        sizes_report.write_sizes_report(tmp_path, found, title="toy")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"layers": (1, 3)}, "layers=3: the encoder has layers 1 to 2"),
        ({"layers": (0, 1)}, "layers=0: the encoder has layers 1 to 2"),
        ({"layers": (2, 1)}, "from small to large"),
        ({"dims": (4, 4)}, "without repetitions"),
        ({"dims": (4, 17)}, "dims=17: the encoder has 1 to 16 dimensions"),
        ({"dims": ()}, "dims is empty"),
    ],
)
def test_sizes_that_the_encoder_does_not_have(how, sentence, layered):
    with pytest.raises(InputError, match=sentence):
        sizes.choose_sizes(layered.config, layered.encoder, **how)


def test_layers_of_a_static_encoder_and_a_hybrid_are_refused(model, toy, tmp_path):
    with pytest.raises(InputError, match="no layers to choose from"):
        sizes.choose_sizes({}, model.encoder, layers=(1,))
    both = model._replace(encoder=hybrid(model.tokenizer.vocab_size, layers=1, dim=16, heads=2))
    with pytest.raises(InputError, match="--part=dense or --part=sparse"):
        sizes.evaluate_sizes(both, toy, tmp_path, progress=False)


def test_default_sizes():
    encoder = lambda **facts: sizes.Encoder(init=None, encode=None, **facts)
    choose = lambda config, one: sizes.choose_sizes(config, one)
    assert choose({}, encoder(dim=48, layers=3)) == ((1, 2, 3), (1, 3, 6, 12, 24, 48))
    assert choose({}, encoder(dim=600, layers=1, kind="sparse")) == ((1,), (16, 32, 64, 128, 256, 600))
    assert choose({"nested": LIST}, encoder(dim=32, layers=4)) == ((1, 2, 4), (4, 16, 32))


def test_the_doctor_measures_what_sizes_lose(model, toy):
    plain = sizes_check.check_sizes(model, toy, progress=False)
    assert [f.level for f in plain] == ["warn"]
    got = sizes_check.measure_sample(model, toy, "test", (0,), (4, 32), progress=False)
    loss = 1 - got.value(0, 4, "MRR@10") / got.value(0, 32, "MRR@10")
    assert "not trained nested" in plain[0].message
    assert f"4 of 32 dimensions: {loss:.0%} less" in plain[0].message
    assert "20 queries among 80 documents" in plain[0].message
    assert 0 < loss < 1
    dims = dict(fn="jaxir.objectives:matryoshka", dims=(4, 16))
    nested = model._replace(config={**model.config, "nested": dims})
    known = sizes_check.check_sizes(nested, toy, progress=False)
    assert [f.level for f in known] == ["ok"]
    assert f"4 of 32 dimensions, has {1 - loss:.0%} of MRR@10" in known[0].message
    other = sizes_check.check_sizes(nested, toy, dims=(2, 4), progress=False)
    assert [f.level for f in other] == ["ok", "warn"]
    assert "2 of 32 dimensions" in other[1].message
    with pytest.raises(InputError, match="dims=33"):
        sizes_check.check_sizes(nested, toy, dims=(4, 33), progress=False)


def test_the_sample_holds_a_relevant_document_of_each_query(toy, monkeypatch):
    monkeypatch.setattr(sizes_check, "QUERIES", 5)
    monkeypatch.setattr(sizes_check, "DOCS", 12)
    split, rows = sizes_check.sample(toy, "test")
    assert len(split.ids) == 5
    assert len(set(rows)) == 12
    assert all(split.qrels[q] == {f"d{q.removeprefix('test')}": 1} for q in split.ids)


def call(*args):
    values = flags.FlagValues()
    evaluate.define(values)
    evaluate.run(values, values(["jaxir evaluate", *map(str, args)])[1:])


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--grid", "--source=x"), "--grid needs --workdir"),
        (("--grid", "--workdir=w"), "--workdir needs --source"),
        (("--grid", "--workdir=w", "--source=x", "--kind=scann"), "--grid searches exactly"),
        (("--grid", "--workdir=w", "--source=x", "--dims=8,4"), "from small to large"),
        (("--grid", "--workdir=w", "--source=x", "--layers=0"), "whole numbers above 0"),
        (("--grid", "--run=a", "--qrels=b"), "--grid needs --workdir"),
        (("--part=dense", "--workdir=w", "--source=x"), "--part is for --grid"),
    ],
)
def test_flags_that_do_not_fit_the_grid(args, sentence):
    with pytest.raises(InputError, match=sentence):
        call(*args)


def test_the_command(model, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jaxir.training.checkpoint.load_model", lambda *args, **options: model)
    monkeypatch.setattr("jaxir.data.prepare.prepare_spec", lambda *args, **options: toy)
    monkeypatch.setattr("jaxir.training.compiled.keep_compiled", lambda workdir: None)
    given = ("--model=m", f"--workdir={tmp_path}", "--source=toy", "--measures=MRR@10")
    call("--grid", "--dims=4,32", *given)
    out = capsys.readouterr().out
    assert "20 queries of test, 80 documents" in out
    assert "note: not trained nested" in out
    assert "BM25" in out
    (report,) = tmp_path.glob("report-toy-*-test-sizes")
    assert len((report / "sizes.csv").read_text().splitlines()) == 3
    assert (report / "grid.png").exists()
