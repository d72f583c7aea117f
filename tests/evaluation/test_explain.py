import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.cli import explain as command
from jaxir.evaluation import explain
from jaxir.training import checkpoint


@pytest.fixture(scope="module")
def found(sparse_model, toy):
    return explain.explain(sparse_model, toy.docs[0].text, query=toy.queries["test"][0].text)


def test_contributions_sum_to_the_score(found):
    assert found.score == pytest.approx(sum(m.contribution for m in found.matches))
    for match in found.matches:
        assert match.contribution == pytest.approx(match.query_weight * match.doc_weight)
    in_doc = {t.token: t.weight for t in found.terms}
    assert {m.token: m.doc_weight for m in found.matches}.items() <= in_doc.items()


def test_terms_are_the_active_ones_heaviest_first(found, sparse_model, toy):
    text = toy.docs[0].text
    row = explain.weights(sparse_model, sparse_model.encoder, [text], "doc")[0]
    weights = [t.weight for t in found.terms]
    np.testing.assert_allclose(weights, np.sort(row[row > 0])[::-1])
    tokens = {*sparse_model.tokenizer.backend.encode(text, add_special_tokens=False).tokens}
    assert {t.token for t in found.terms if t.occurs} <= tokens
    assert {t.token for t in found.terms if not t.occurs}.isdisjoint(tokens)
    assert all(t.occurs for t in found.query_terms)  # a bag of words adds nothing
    assert explain.explain(sparse_model, query="").score is None


def call(*args):
    from absl import flags

    values = flags.FlagValues()
    command.define(values)
    command.run(values, values(["jaxir explain", *args])[1:])


def test_the_command(sparse_model, toy, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "load_model", lambda *args, **options: sparse_model)
    doc, query = toy.docs[3], toy.queries["dev"][0].text
    call("--model=m", f"--source={toy.path}", f"--doc_id={doc.doc_id}", f"--query={query}", "--top=4")
    shown = capsys.readouterr().out
    assert doc.text[:60] in shown
    assert "text: 50 active terms" in shown
    assert "common term" in shown or "no term in common" in shown
    call("--model=m", "--query=")
    assert "the query has no active term" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--text=x"], "give --workdir=DIR"),
        (["--model=m"], "nothing to explain"),
        (["--model=m", "--doc_id=1"], "--doc_id and --source go together"),
        (["--model=m", "--doc_id=1", "--source=s", "--text=x"], "not both"),
        (["--model=m", "x"], "takes flags only"),
    ],
)
def test_misuse(args, sentence):
    with pytest.raises(InputError, match=sentence):
        call(*args)


def test_what_has_no_terms(model, toy):
    with pytest.raises(InputError, match="gives dense representations, whose dimensions are no terms"):
        explain.explain(model, "x")
    with pytest.raises(InputError, match="has no document 'd999'; its first is 'd0'"):
        explain.find_doc(toy, "d999")
