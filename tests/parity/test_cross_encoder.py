"""Tiny cross-encoders of transformers, and jaxir's in sentence-transformers: the same scores both ways."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.config import build
from jaxir.data.padding import pad_flat
from jaxir.data.pairs import Joiner
from jaxir.data.ragged import Ragged
from jaxir.data.tokenizer import load as load_tokenizer
from jaxir.models import pretrained
from jaxir.types import Tokens
from tests.models.pretrained import folders
from tests.parity.test_pretrained import GROUPED, MODELS, SIZES

pytestmark = pytest.mark.parity

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

PAIRS = [
    ("the quick fox", "a ship sails on the sea"),
    ("ten red apples", "the lazy dog jumps"),
    ("sea", "apples"),
]
POSITIONS = dict(SIZES, max_position_embeddings=64)
CLASSIFIERS = {
    "bert": ("Bert", POSITIONS),
    "roberta": ("Roberta", dict(POSITIONS, type_vocab_size=1)),
    "xlm-roberta": ("XLMRoberta", dict(POSITIONS, type_vocab_size=1)),
    "mpnet": ("MPNet", POSITIONS),
    "distilbert": ("DistilBert", dict(MODELS["distilbert"][2], max_position_embeddings=64)),
    "modernbert": ("ModernBert", dict(MODELS["modernbert"][2], classifier_pooling="mean")),
    "llama": ("Llama", dict(GROUPED, pad_token_id=0)),
    "qwen3": ("Qwen3", dict(GROUPED, head_dim=12, pad_token_id=0)),
}


def theirs(name, folder, **more):
    kind, arguments = CLASSIFIERS[name]
    config = getattr(transformers, f"{kind}Config")(**{**arguments, "num_labels": 1, **more})
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    made.set_attn_implementation("eager")
    made.save_pretrained(folder)
    folders.tiny_tokenizer().save(folder / "tokenizer.json")
    return made


def scores(encoder, params, tokenizer, pairs=PAIRS):
    """By jaxir, of texts; with the tokens, for the other side."""
    queries, docs = (Ragged.of(tokenizer.encode_plain(list(texts))) for texts in zip(*pairs))
    joined = Joiner(tokenizer, query=16, pair=64)(queries, docs)
    tokens = pad_flat(joined.flat, joined.lengths, pad_id=tokenizer.pad_id)
    values = jax.jit(functools.partial(encoder.encode, side="doc"))(params, tokens).values
    return np.asarray(values[:, 0]), tokens


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_of_published_classifiers(name, tmp_path):
    made = theirs(name, tmp_path)
    encoder, params, tokenizer = pretrained.load(tmp_path)
    assert encoder.kind == "scores"
    ours, tokens = scores(encoder, params, tokenizer)
    inputs = dict(input_ids=torch.tensor(tokens.ids), attention_mask=torch.tensor(tokens.mask).long())
    if name == "bert":
        ends = tokens.ids == tokenizer.pair().middle[0]
        inputs["token_type_ids"] = torch.tensor((np.cumsum(ends, 1) - ends > 0) & tokens.mask).long()
    with torch.no_grad():
        expected = made(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-5, rtol=0)
    assert np.ptp(expected) > 2e-4  # they differ by pair


def test_sentence_transformers_folder_and_labels(tmp_path):
    theirs("bert", tmp_path / "plain")
    theirs("bert", tmp_path / "nli", num_labels=3)
    model = sentence_transformers.CrossEncoder(str(tmp_path / "plain"))
    model.save(str(tmp_path / "saved"))
    expected = model.predict(PAIRS, activation_fn=torch.nn.Identity())
    for folder in ("plain", "saved"):
        ours, _ = scores(*pretrained.load(tmp_path / folder))
        np.testing.assert_allclose(ours, expected, atol=2e-5, rtol=0)
    with pytest.raises(InputError, match=r"a classifier of 3 labels .*one score for a pair"):
        pretrained.load(tmp_path / "nli")
    assert pretrained.load(tmp_path / "nli", cross_encoder={})[0].kind == "scores"


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert", "llama"])
def test_sentence_transformers_loads_the_export(name, tmp_path):
    folders.write(tmp_path / "trunk", dataclasses.replace(folders.TRUNKS[name], max_positions=64))
    found = pretrained.read(tmp_path / "trunk", cross_encoder={})
    pretrained.export(tmp_path / "out", found.spec, found.params, found.tokenizer)
    ours, _ = scores(build(found.spec), found.params, found.tokenizer)
    model = sentence_transformers.CrossEncoder(str(tmp_path / "out"))
    np.testing.assert_allclose(model.predict(PAIRS), ours, atol=1e-5, rtol=0)
    again, _ = scores(*pretrained.load(tmp_path / "out"))
    assert np.array_equal(again, ours)


def test_a_decoder_scores_by_its_words(tmp_path):
    """The difference of two words' logits at the last token, for any other weights of the vocabulary."""
    torch.manual_seed(0)
    made = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**CLASSIFIERS["qwen3"][1])).eval()
    made.save_pretrained(tmp_path)
    folders.tiny_tokenizer().save(tmp_path / "tokenizer.json")
    words = [load_tokenizer(tmp_path / "tokenizer.json").backend.id_to_token(i) for i in (20, 21)]
    encoder, params, tokenizer = pretrained.load(
        tmp_path, cross_encoder=dict(token=words[0], against=words[1])
    )
    ours, tokens = scores(encoder, params, tokenizer)
    ids = [20, 21]
    inputs = dict(input_ids=torch.tensor(tokens.ids), attention_mask=torch.tensor(tokens.mask).long())
    with torch.no_grad():
        logits = made(**inputs).logits[torch.arange(3), torch.tensor(tokens.mask.sum(1) - 1)].numpy()
    np.testing.assert_allclose(ours, logits[:, ids[0]] - logits[:, ids[1]], atol=2e-5, rtol=0)
    single, _ = scores(*pretrained.load(tmp_path, cross_encoder=dict(token=words[0])))
    np.testing.assert_allclose(single, logits[:, ids[0]], atol=2e-5, rtol=0)
    with pytest.raises(InputError, match=r"tokens of the vocabulary of .*, expected one"):
        pretrained.load(tmp_path, cross_encoder=dict(token="not one word"))


def test_packed_pairs_have_the_same_scores(tmp_path):
    theirs("bert", tmp_path)
    encoder, params, tokenizer = pretrained.load(tmp_path)
    plain, tokens = scores(encoder, params, tokenizer)
    at = np.flatnonzero(tokens.mask.ravel())[None].astype(np.int32)
    packed = encoder.encode(params, Tokens(tokens.ids, tokens.mask, at), side="doc").values[:, 0]
    np.testing.assert_allclose(packed, plain, atol=1e-5)
