import json

import numpy as np
import pytest
import tokenizers as library

from jaxir.checks import InputError
from jaxir.data import tokenizer as tokenizers

ENGLISH = ["The quick brown fox jumps over the lazy dog.", "Lazy dogs sleep; quick foxes jump."] * 5
WITHOUT_SPACES = {
    "chinese": ["夏季剧院位于附近的花园，从一八七零年到一九三九年运营。", "花园附近的剧院在夏季运营。"] * 3,
    "japanese": ["ベストセラーとなった『新寶島』は大阪に赤本ブームを起こし、手塚はこれに乗った。"] * 3,
    "thai": ["โรงละครฤดูร้อนตั้งอยู่ใกล้กับสวนซึ่งเปิดดำเนินการตั้งแต่ปี" * 4] * 3,
}


@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_encode_decode(kind):
    tok = tokenizers.train(ENGLISH, kind=kind, vocab_size=400)
    text = "the quick dog."
    (ids,) = tok.encode_batch([text], max_length=64)
    assert ids.dtype == np.int32
    assert (ids[0], ids[-1]) == (2, 3)  # [CLS] ... [SEP]
    assert tok.decode(ids).replace(" ", "") == text.replace(" ", "")
    assert max(ids) < tok.vocab_size <= 400
    assert tok.pad_id == 0
    assert tok.special_ids == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_same_texts_same_tokenizer(kind):
    texts = [*ENGLISH, *(text for texts in WITHOUT_SPACES.values() for text in texts)]
    one, two = (tokenizers.train(iter(texts), kind=kind, vocab_size=300) for _ in range(2))
    assert one.backend.to_str() == two.backend.to_str()
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("kind", tokenizers.KINDS)
@pytest.mark.parametrize("language", WITHOUT_SPACES)
def test_languages_without_spaces(kind, language):
    texts = WITHOUT_SPACES[language]
    tok = tokenizers.train(texts, kind=kind, vocab_size=500)
    for text, ids in zip(texts, tok.encode_plain(texts)):
        assert 1 not in ids  # no [UNK]
        # Several pieces, and fewer than characters (or their bytes).
        assert 3 < len(ids) <= len(text.encode())


def test_truncation_counts_the_special_tokens():
    tok = tokenizers.train(ENGLISH, vocab_size=200)
    long, short = tok.encode_batch([ENGLISH[0], "dog"], max_length=5)
    assert len(long) == 5
    assert (long[0], long[-1]) == (2, 3)
    assert len(short) < 5
    assert np.array_equal(long[1:-1], tok.encode_plain([ENGLISH[0]])[0][:3])
    with pytest.raises(InputError, match="no room"):
        tok.encode_batch(["dog"], max_length=2)


def test_without_special_tokens():
    tok = tokenizers.train(ENGLISH, vocab_size=200, add_special=False)
    assert (tok.head, tok.tail) == ((), ())
    assert np.array_equal(tok.encode_batch(["dog"], max_length=9)[0], tok.encode_plain(["dog"])[0])


def test_an_empty_text_is_its_special_tokens():
    tok = tokenizers.train(ENGLISH, vocab_size=200)
    assert tok.encode_batch([""], max_length=9)[0].tolist() == [2, 3]


def test_lowercase_and_accents():
    lower = tokenizers.train(ENGLISH, vocab_size=200)
    assert np.array_equal(*lower.encode_plain(["THE DOG", "the dog"]))
    cased = tokenizers.train(ENGLISH, vocab_size=200, lowercase=False)
    assert not np.array_equal(*cased.encode_plain(["The", "the"]))
    plain = tokenizers.train(ENGLISH, vocab_size=200, strip_accents=True)
    assert np.array_equal(*plain.encode_plain(["Dög", "dog"]))


def test_endless_words_stay_known():
    tok = tokenizers.train(ENGLISH, vocab_size=200)
    (ids,) = tok.encode_plain(["dog" * 500])
    assert 1 not in ids


def test_save_and_load(tmp_path):
    tok = tokenizers.train(ENGLISH, vocab_size=200)
    tok.save(tmp_path / "tokenizer.json")
    again = tokenizers.load(tmp_path / "tokenizer.json")
    assert again[1:] == tok[1:]
    assert np.array_equal(*(t.encode_batch(["lazy fox"], max_length=9)[0] for t in (tok, again)))


def test_loads_others_with_their_own_special_tokens(tmp_path):
    backend = library.Tokenizer(
        library.models.WordLevel({"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "a": 4, "b": 5}, "<unk>")
    )
    backend.add_special_tokens(["<s>", "</s>", "<pad>", "<unk>"])
    backend.pre_tokenizer = library.pre_tokenizers.Whitespace()
    backend.post_processor = library.processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    backend.enable_truncation(3)
    backend.enable_padding(pad_id=2, pad_token="<pad>", length=10)
    backend.save(str(tmp_path / "tokenizer.json"))
    tok = tokenizers.load(tmp_path / "tokenizer.json")
    assert (tok.head, tok.tail, tok.pad_id, tok.vocab_size) == ((0,), (1,), 2, 6)
    assert tok.special_ids == (0, 1, 2, 3)
    assert tok.encode_batch(["a b a b", ""], max_length=20)[0].tolist() == [0, 4, 5, 4, 5, 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "wordpeice"}, "Did you mean 'wordpiece'"),
        ({"vocab_size": 3}, "at least 6"),
        ({"kind": "bpe", "vocab_size": 100}, "at least 261"),
    ],
)
def test_mistakes(options, text):
    with pytest.raises(InputError, match=text):
        tokenizers.train(ENGLISH, **options)


def test_no_text():
    with pytest.raises(InputError, match="no text"):
        tokenizers.train(["", "  "])


def test_files_that_are_no_tokenizers(tmp_path):
    with pytest.raises(InputError, match="no tokenizer at"):
        tokenizers.load(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match="not a tokenizer"):
        tokenizers.load(tmp_path / "config.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a tokenizer"):
        tokenizers.load(tmp_path / "binary")


@pytest.mark.parametrize(("folder", "count"), [("xquad/zh", 240), ("jaquad", 300)])
def test_real_texts_without_spaces(real_data, folder, count):
    with open(real_data / folder / "corpus.jsonl", encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line, _ in zip(f, range(count))]
    tok = tokenizers.train(texts, vocab_size=8000)
    ids = np.concatenate(tok.encode_plain(texts))
    characters = sum(map(len, texts))
    assert np.mean(ids == 1) < 0.001
    assert 0.3 * characters < len(ids) < characters


def test_what_is_not_unicode():
    """Half surrogates come from bytes that were not UTF-8 and from broken escapes in JSON."""
    tok = tokenizers.train(ENGLISH, vocab_size=80)
    broken, replaced, plain = tok.encode_plain(["dog \udcff dog", "dog \ufffd dog", "dog"])
    assert np.array_equal(broken, replaced)
    assert len(plain) == 1
