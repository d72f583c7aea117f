import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.evaluation import chain, checkup, doctor, stages
from jaxir.files import read_manifest, write_json
from jaxir.retrieval import index as indexes
from jaxir.types import Reps


def levels(findings, text=""):
    return {f.check: f.level for f in findings if text in f.check}


def failed(findings):
    return {f.check for f in findings if f.level == "fail"}


@pytest.fixture(scope="module")
def texts(toy):
    return [d.text for d in toy.docs], [q.text for q in toy.queries["test"]]


def test_a_sound_model_passes(model, texts):
    findings = doctor.check_model(model, *texts)
    assert set(levels(findings).values()) == {"ok"}, findings
    assert {
        "vocabulary",
        "unknown tokens",
        "documents: truncation",
        "documents: finite",
        "documents: collapse",
        "documents: dimensions",
        "documents: length",
        "queries: collapse",
        "padding",
        "self-retrieval: documents as queries",
    } <= set(levels(findings))


def with_params(model, change):
    return model._replace(params=jax.tree_util.tree_map_with_path(change, model.params))


def test_collapsed_and_nan_weights(model, texts):
    def same(path, x):
        return x.at[:].set(1.0) if "embedding" in str(path) else x

    assert {"documents: collapse", "queries: collapse", "documents: dimensions"} <= failed(
        doctor.check_model(with_params(model, same), *texts)
    )
    broken = with_params(model, lambda path, x: x * np.nan)
    assert {"documents: finite", "queries: finite", "padding"} <= failed(doctor.check_model(broken, *texts))


def test_an_encoder_that_looks_at_padding(model, texts):
    def encode(params, tokens, **options):
        seen = tokens._replace(mask=jnp.ones_like(tokens.mask))
        return model.encoder.encode(params, seen, **options)

    blind = model._replace(encoder=model.encoder._replace(encode=encode))
    assert "padding" in failed(doctor.check_model(blind, *texts))


def test_towers_that_do_not_belong_together(model, texts):
    def encode(params, tokens, *, side="query", **options):
        reps = model.encoder.encode(params, tokens, side=side, **options)
        return reps if side == "doc" else Reps(reps.values[..., ::-1])

    apart = model._replace(encoder=model.encoder._replace(encode=encode))
    assert failed(doctor.check_model(apart, *texts)) == {"self-retrieval: documents as queries"}


def test_an_encoder_that_forgets_to_normalise(model, texts):
    def encode(params, tokens, **options):
        return Reps(3 * model.encoder.encode(params, tokens, **options).values)

    long = model._replace(encoder=model.encoder._replace(encode=encode))
    assert {"documents: length", "queries: length"} <= failed(doctor.check_model(long, *texts))


def test_a_foreign_tokenizer_and_language(model, texts):
    short = with_params(model, lambda path, x: x[:50] if x.ndim == 2 and "embedding" in str(path) else x)
    assert levels(doctor.check_model(short, *texts))["vocabulary"] == "fail"
    japanese = ["東京都は日本の首都である", "京都は古い都"] * 5
    assert "unknown tokens" in failed(doctor.check_model(model, japanese, japanese))


@pytest.fixture(scope="module")
def work(model, toy, tmp_path_factory):
    home = tmp_path_factory.mktemp("work")
    options = {"force_tree": True, "leaves": 4}
    kinds = ("exact", "scann")
    found = chain.evaluate_chain(
        model, toy, home, kinds=kinds, scann_options=options, bm25=False, progress=False
    )
    return found.indexes


def examined(path, model, toy):
    return checkup.check_index(indexes.open(path), model, toy, None)


def test_sound_indexes_pass(work, model, toy):
    for kind, path in work.items():
        findings = examined(path, model, toy)
        assert set(levels(findings).values()) == {"ok"}, findings
        assert {"fingerprints", "stored vectors", "self-retrieval: stored vectors as queries"} <= set(
            levels(findings)
        )
        assert ("ScaNN recall" in levels(findings)) == (kind == "scann")


def test_an_index_of_another_model(work, model, toy):
    other = model._replace(params=model.encoder.init(jax.random.key(7)), fingerprint="another-model")
    assert {"fingerprints", "stored vectors"} <= failed(examined(work["exact"], other, toy))
    wide = model._replace(encoder=model.encoder._replace(dim=64))
    assert "dimensions" in failed(examined(work["exact"], wide, toy))


def test_a_prefix_that_was_left_out(work, model, toy):
    config = {**model.config, "prefixes": {"query": "", "doc": toy.docs[0].text + " "}}
    findings = examined(work["exact"], model._replace(config=config), toy)
    assert "stored vectors" in failed(findings)


def test_judgements_of_a_data_set(toy):
    findings = doctor.check_data(toy, measures=("nDCG@10", "R@100"))
    assert set(levels(findings).values()) == {"ok"}
    assert {"qrels (test)", "oracle (dev)"} <= set(levels(findings))
    lossy = toy._replace(counts={**toy.counts, "dropped_qrels": 3})
    assert levels(doctor.check_data(lossy, measures=("nDCG@10",)))["qrels"] == "warn"


def test_the_visit(work, model, toy, monkeypatch, capsys, tmp_path):
    workdir = work["exact"].parent.parent.parent
    sound = model._replace(config={**model.config, "prepared": [str(toy.path)]})
    monkeypatch.setattr(checkup, "load_model", lambda path, **options: sound)
    monkeypatch.setattr(checkup, "check_workdir", lambda path: path)
    findings = checkup.examine(workdir=workdir)
    assert {f.level for f in findings} == {"ok"}, findings
    assert any(f.check.startswith("index-exact: ") for f in findings)
    assert any(f.check.startswith("index-scann") for f in findings)
    checkup.show([*findings, findings[0]._replace(level="fail", what_to_do="mend it")])
    out = capsys.readouterr().out
    assert "mend it" in out
    assert f"{len(findings)} ok, 0 to look at, 1 failed" in out
    homeless = model._replace(config={**model.config, "prepared": ["/nowhere"]})
    monkeypatch.setattr(checkup, "load_model", lambda path, **options: homeless)
    with pytest.raises(InputError, match=r"--source=\.\.\."):
        checkup.examine(workdir=tmp_path)


def test_an_index_whose_texts_are_gone(work, model, toy, monkeypatch):
    monkeypatch.setattr(checkup.store, "load", lambda path: toy._replace(fingerprint="newer"))
    other = toy._replace(fingerprint="other")
    findings = checkup.check_index(indexes.open(work["exact"]), model, other, None)
    assert [f.check for f in findings if f.level != "ok"] == ["source"]


def test_an_index_alone(work):
    findings = checkup.examine(index=work["exact"])
    assert {f.level for f in findings} == {"ok"}
    manifest = read_manifest(work["exact"])
    assert manifest["source"]["name"] == "toy"


def test_a_damaged_index_is_refused(model, toy, tmp_path):
    home = tmp_path / "h"
    vectors = stages.encode_docs(model, toy, home / "vectors", model_path=tmp_path, progress=False)
    path = stages.build_index(vectors, home, "exact", {}, progress=False).path
    array = path / "arrays" / "vectors.npy"
    data = bytearray(array.read_bytes())
    data[-1] ^= 255
    array.write_bytes(bytes(data))
    with pytest.raises(InputError, match="has changed"):
        checkup.examine(index=path)
    write_json(path / "manifest.json", {"kind": "dataset"})
    with pytest.raises(InputError, match="expected 'index'"):
        checkup.examine(index=path)


def test_the_command(run_jaxir, work, tmp_path):
    done = run_jaxir("doctor", f"--index={work['exact']}")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "0 failed" in done.stdout
    done = run_jaxir("doctor")
    assert (done.returncode, "--workdir=DIR" in done.stderr) == (2, True)
    done = run_jaxir("doctor", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
