import json
import math

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.cli.main import main
from jaxir.data import tokenizer as tokenizers
from jaxir.data import vocabulary
from jaxir.types import Doc

TEXTS = ["The fox is in the den, and foxes sleep.", "A fox jumped over (the) dog's tail!", "dogs sleep"]


@pytest.fixture(scope="module")
def tok():
    return tokenizers.train(TEXTS * 3, vocab_size=200)


def test_idf_counts_documents(tok):
    found = vocabulary.idf([*TEXTS[:2], Doc("d", "fox", TEXTS[2])], tok)
    vocab = tok.backend.get_vocab()
    for token, df in (("fox", 2), ("sleep", 2), ("the", 2), ("dogs", 1), ("[UNK]", None), ("##x", 0)):
        expected = 0 if df is None else math.log(1 + (3 - df + 0.5) / (df + 0.5))
        np.testing.assert_allclose(found[vocab[token]], expected, rtol=1e-6)
    with_title = vocabulary.idf([Doc("d", "fox", "sleep"), "dogs"], tok, doc_text="title+text")
    np.testing.assert_allclose(with_title[vocab["fox"]], math.log(2), rtol=1e-6)
    cut = vocabulary.idf(["fox sleep dogs"], tok, max_length=4)  # two of them beside [CLS] and [SEP]
    assert (cut[vocab["dogs"]] > cut[vocab["sleep"]]).all()
    with pytest.raises(InputError, match="no documents"):
        vocabulary.idf([], tok)


def test_a_table_is_read_as_it_was_written(tok, tmp_path):
    table = vocabulary.idf(TEXTS, tok)
    vocabulary.save_idf(tmp_path / "idf.json", table, tok, documents=3)
    np.testing.assert_allclose(vocabulary.load_idf(tmp_path / "idf.json", tok), table, atol=1e-6)
    assert json.loads((tmp_path / "idf.json").read_text())["documents"] == 3


def test_a_published_table_may_lack_some_tokens(tok, tmp_path):
    vocab = tok.backend.get_vocab()
    plain = {token: 2.5 for token in vocab if token not in ("fox", "[PAD]")}
    (tmp_path / "idf.json").write_text(json.dumps(plain))
    found = vocabulary.load_idf(tmp_path / "idf.json", tok)
    assert (found[vocab["fox"]], found[vocab["[PAD]"]], found[vocab["dogs"]]) == (1, 0, 2.5)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"fox": 1.0, "zebra": 2.0}, "another vocabulary: 1 of its 2 tokens .'zebra'. are unknown"),
        ({"fox": 1.0}, "another vocabulary.*jaxir prepare --idf --tokenizer"),
        ({"idf": {"fox": -1.0}}, "the weight of 'fox' is -1.0, expected"),
        ({"fox": "high"}, "the weight of 'fox' is 'high', expected"),
        ([1.0, 2.0], "no table of weights"),
    ],
)
def test_tables_that_do_not_fit(tok, tmp_path, content, sentence):
    (tmp_path / "idf.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence):
        vocabulary.load_idf(tmp_path / "idf.json", tok)


def test_blocked_and_continuing_entries(tok):
    def tokens(ids):
        return {tok.backend.id_to_token(i) for i in ids}

    assert tokens(vocabulary.blocked_ids(tok, ["special"])) == set(tokenizers.SPECIAL)
    assert {",", "(", "!", "##!"} <= tokens(vocabulary.blocked_ids(tok, ["punctuation"]))
    stop = tokens(vocabulary.blocked_ids(tok, ["stopwords"]))
    assert {"the", "is", "and", "a"} <= stop
    assert not stop & {"fox", "##s", "##a"}
    everything = vocabulary.blocked_ids(tok)
    assert list(everything) == sorted(set(everything))
    assert "fox" not in tokens(everything)
    inside = tokens(vocabulary.continuation_ids(tok))
    assert "##s" in inside
    assert all(t.startswith("##") for t in inside)
    with pytest.raises(InputError, match=r"unknown group of tokens 'stopword'.*Did you mean 'stopwords'"):
        vocabulary.blocked_ids(tok, ["stopword"])


def test_other_marks_of_a_beginning():
    marked = tokenizers.train(TEXTS * 3, kind="unigram", vocab_size=60)
    inside = {marked.backend.id_to_token(i) for i in vocabulary.continuation_ids(marked)}
    assert "x" in inside
    assert not any(t.startswith("▁") for t in inside)
    unmarked = tokenizers.train(TEXTS * 3, kind="bpe", vocab_size=300)
    assert vocabulary.continuation_ids(unmarked) == ()
    stop = vocabulary.blocked_ids(unmarked, ["stopwords"])
    assert "the" in {unmarked.backend.id_to_token(i) for i in stop}


def test_the_command(toy, tokenizer, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    tokenizer.save(tmp_path / "model" / "tokenizer.json")
    arguments = ["prepare", f"--source={toy.path}", "--idf", f"--idf_out={tmp_path / 'idf.json'}"]
    main([*arguments, f"--tokenizer={tmp_path / 'model'}"])
    assert "in 40 documents" in capsys.readouterr().out
    np.testing.assert_allclose(
        vocabulary.load_idf(tmp_path / "idf.json", tokenizer), vocabulary.idf(toy.docs, tokenizer), atol=1e-6
    )
    (tmp_path / "empty").mkdir()
    for more, sentence in (
        ([], "--idf and --tokenizer=FILE_OR_MODEL go together"),
        ([f"--tokenizer={tmp_path / 'empty'}"], "empty has no tokenizer.json"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, *more])
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err
