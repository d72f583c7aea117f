"""Text -> token ids, by the ``tokenizers`` library: trained on a collection, or loaded."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from jaxir.checks import InputError, check_known
from jaxir.files import PathLike, fingerprint, write_text

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
KINDS = ("wordpiece", "bpe", "unigram")

# Han characters are words of their own (Chinese and Japanese put no spaces), as in BERT. Other scripts
# without spaces (kana, Thai, Khmer, ...) are learned as subwords; a run of letters is cut at 64, which
# bounds the cost of matching and keeps an endless "word" from becoming one unknown token.
_HAN = Regex(r"[\p{Han}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CUT = pre_tokenizers.Split(Regex(r"\S{1,64}"), "isolated")


class Pair(NamedTuple):
    """What stands around two texts that are read together: head, text, middle, text, tail."""

    head: tuple[int, ...]
    middle: tuple[int, ...]
    tail: tuple[int, ...]
    segments: bool  # whether the second text's tokens are of another type than the first one's

    @property
    def size(self) -> int:
        """How many special tokens that are."""
        return len(self.head) + len(self.middle) + len(self.tail)


class Tokenizer(NamedTuple):
    """A tokenizer; made by :func:`train` or :func:`load`. Threads may share it.

    ``head`` and ``tail`` are the special tokens put around a text ([CLS] and [SEP], or none).
    """

    backend: Any  # tokenizers.Tokenizer, without truncation and padding
    vocab_size: int  # highest id + 1
    pad_id: int
    special_ids: tuple[int, ...]
    head: tuple[int, ...]
    tail: tuple[int, ...]
    fingerprint: str

    def encode_batch(self, texts: Sequence[str], *, max_length: int) -> list[np.ndarray]:
        """int32 ids of each text, special tokens included, at most ``max_length`` of them."""
        return self.encode_counted(texts, max_length=max_length)[0]

    def encode_counted(self, texts: Sequence[str], *, max_length: int) -> tuple[list[np.ndarray], int]:
        """:meth:`encode_batch`, and how many of the texts were cut."""
        room = self.room(max_length)
        head, tail = (np.array(ids, np.int32) for ids in (self.head, self.tail))
        whole = self.encode_plain(texts)
        cut = sum(len(ids) > room for ids in whole)
        return [np.concatenate([head, ids[:room], tail]) for ids in whole], cut

    def encode_plain(self, texts: Sequence[str]) -> list[np.ndarray]:
        """int32 ids of each whole text without special tokens.

        Half a surrogate pair (bytes that were not UTF-8, a broken escape in JSON) counts as U+FFFD.
        """
        try:
            encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:
            clean = [_SURROGATE.sub("\ufffd", text) for text in texts]
            encoded = self.backend.encode_batch_fast(clean, add_special_tokens=False)
        return [np.array(e.ids, np.int32) for e in encoded]

    def room(self, max_length: int) -> int:
        """How many of ``max_length`` tokens remain for the text itself."""
        room = max_length - len(self.head) - len(self.tail)
        if room < 1:
            raise InputError(
                f"max_length is {max_length}, which leaves no room beside the tokenizer's "
                f"{len(self.head) + len(self.tail)} special tokens"
            )
        return room

    def pair(self) -> Pair:
        """The special tokens of two texts: [CLS] and [SEP] between and behind them, or as its file says."""
        probe = self.backend.encode("a", "a", add_special_tokens=True)
        at = [i for i, text in enumerate(probe.sequence_ids) if text is not None]
        second = probe.sequence_ids.index(1)
        first_end = max(i for i in at if i < second) + 1
        head, middle = probe.ids[: at[0]], probe.ids[first_end:second]
        tail = probe.ids[at[-1] + 1 :]
        if (self.head or self.tail) and not (head or middle or tail):  # its file says nothing of pairs
            return Pair(self.head, self.tail, self.tail, True)
        return Pair(tuple(head), tuple(middle), tuple(tail), probe.type_ids[second] > 0)

    def with_pairs(self) -> Tokenizer:
        """The same tokenizer, whose file says of pairs what :meth:`pair` does."""
        pair = self.pair()
        backend = tokenizers.Tokenizer.from_str(self.backend.to_str())
        probe = backend.encode("a", "a", add_special_tokens=True)
        if len(probe.ids) - sum(text is not None for text in probe.sequence_ids) == pair.size:
            return self
        name = backend.id_to_token
        special = {i: name(i) for i in (*self.head, *self.tail, *pair.middle)}
        before, between, after = ([special[i] for i in part] for part in pair[:3])
        ends = [special[i] for i in self.tail]
        backend.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *ends],
            pair=[*before, "$A", *between, "$B:1", *(f"{token}:1" for token in after)],
            special_tokens=[(token, i) for i, token in special.items()],
        )
        return _wrap(backend)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, special tokens left out."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def save(self, path: PathLike) -> None:
        """Writes tokenizer.json, whole or not at all."""
        write_text(path, self.backend.to_str(pretty=True))


def train(
    texts: Iterable[str],
    *,
    kind: str = "wordpiece",
    vocab_size: int = 8000,
    lowercase: bool = True,
    strip_accents: bool = False,
    add_special: bool = True,
    min_frequency: int = 2,
) -> Tokenizer:
    """Learns a vocabulary from texts in any language.

    The same texts give the same tokenizer (unigram's scores excepted: the library adds them up in an
    order of its own). The texts are read once and kept in a temporary file meanwhile.

    Texts are NFKC-normalised (full-width forms, ligatures) and, by default, lower-cased; words are
    split at spaces, at punctuation and around Han characters.

    Args:
      kind: "wordpiece" (BERT's, the default), "bpe" (on bytes: no unknown tokens at all) or "unigram"
        (SentencePiece's).
      vocab_size: at most so many tokens; fewer where the texts have no more to offer.
      strip_accents: also removes accents. Leave it off for Japanese, Thai, Hindi or Arabic, whose
        marks are letters.
      add_special: texts are encoded as [CLS] text [SEP].
      min_frequency: pieces seen less often are not learned (wordpiece, bpe).

    Raises:
      InputError: unknown kind, no text, or a vocabulary too small for the special tokens.
    """
    check_known("kind of tokenizer", kind, KINDS)
    smallest = len(SPECIAL) + (256 if kind == "bpe" else 1)
    if vocab_size < smallest:
        raise InputError(f"vocab_size is {vocab_size}, {kind} needs at least {smallest}")
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as spool:
        alphabet = _spooled_alphabet(texts, spool, lowercase, strip_accents)
        if not alphabet:
            raise InputError("there is no text to train a tokenizer on")
        # At most half of the vocabulary for single characters: rarer ones of large scripts are [UNK].
        alphabet = sorted(alphabet[: vocab_size // 2])
        build = {"wordpiece": _wordpiece, "bpe": _bpe, "unigram": _unigram}[kind]
        backend = build(spool, _normalizer(lowercase, strip_accents), alphabet, vocab_size, min_frequency)
    if add_special:
        special = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=special
        )
    return _wrap(backend)


def _spooled_alphabet(texts: Iterable[str], spool: TextIO, lowercase: bool, strip_accents: bool) -> list[str]:
    """Writes the texts to ``spool``, one a line; returns their characters, the most frequent first.

    The trainers must be told the characters: left to themselves they break ties between rare ones,
    and number pieces, in the random order of a hash map.
    """
    normalizer = _normalizer(lowercase, strip_accents)
    counts: Counter[str] = Counter()
    for text in texts:
        line = " ".join(text.split())
        spool.write(line + "\n")
        counts.update(normalizer.normalize_str(line))
    spool.seek(0)
    return [c for c, _ in sorted(counts.items(), key=lambda e: (-e[1], e[0])) if not c.isspace()]


def _wordpiece(
    spool: TextIO, normalizer: Any, alphabet: list[str], vocab_size: int, min_frequency: int
) -> Any:
    # Han characters stand alone and are never the inside of a word.
    others = pre_tokenizers.Split(_HAN, "removed").pre_tokenize_str("".join(alphabet))
    inside = [f"##{c}" for piece, _ in others for c in piece]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL, *inside],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        min_frequency=min_frequency,
        show_progress=False,
    )
    scratch = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    scratch.normalizer = normalizer
    scratch.pre_tokenizer = pre_tokenizers.Sequence(_split())
    scratch.train_from_iterator(spool, trainer)
    # "##x" was passed as special for the sake of a fixed number; in the result it is an ordinary piece.
    vocab = {token: n for n, token in enumerate(_by_id(scratch)[:vocab_size])}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, scratch.pre_tokenizer
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(list(SPECIAL))
    return backend


def _by_id(backend: Any) -> list[str]:
    vocab = backend.get_vocab()
    return sorted(vocab, key=vocab.__getitem__)


def _bpe(spool: TextIO, normalizer: Any, alphabet: list[str], vocab_size: int, min_frequency: int) -> Any:
    del alphabet  # bytes
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizer
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*_split(), as_bytes])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=min_frequency,
        show_progress=False,
    )
    backend.train_from_iterator(spool, trainer)
    return backend


def _unigram(spool: TextIO, normalizer: Any, alphabet: list[str], vocab_size: int, min_frequency: int) -> Any:
    del min_frequency  # this model keeps the pieces that make the texts likely
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizer
    # At spaces and punctuation only: which characters form a word is what this model learns.
    split = [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), _CUT]
    backend.pre_tokenizer = pre_tokenizers.Sequence(split)
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=alphabet,
        shrinking_factor=0.5,  # half the time of the default 0.75
        unk_token="[UNK]",
        show_progress=False,
    )
    backend.train_from_iterator(spool, trainer)
    return backend


def _split() -> list[Any]:
    return [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(_HAN, "isolated"), _CUT]


def _normalizer(lowercase: bool, strip_accents: bool) -> Any:
    steps: list[Any] = [normalizers.NFKC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if strip_accents:
        steps += [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()]
    return normalizers.Sequence(steps)


def load(path: PathLike, *, lowercase: bool = False, special: bool = True) -> Tokenizer:
    """Reads a tokenizer.json, of :func:`train`'s or of any model of the ``tokenizers`` library.

    Its truncation and padding are switched off: lengths are the caller's.

    Args:
      lowercase: lower-cases texts before anything else.
      special: False = no special tokens around a text, whatever the file says.

    Raises:
      InputError: no such file, or not a tokenizer.
    """
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        backend = tokenizers.Tokenizer.from_str(text)
    except FileNotFoundError as error:
        raise InputError(f"there is no tokenizer at {path}") from error
    except Exception as error:  # the library raises plain Exceptions
        raise InputError(f"{path} is not a tokenizer.json: {error}") from error
    if lowercase:
        rest = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
    if not special:
        backend.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    return _wrap(backend)


def _wrap(backend: Any) -> Tokenizer:
    padding = backend.padding
    backend.no_truncation()
    backend.no_padding()
    facts = json.loads(backend.to_str())
    special = sorted(t["id"] for t in facts["added_tokens"] if t["special"])
    vocab = backend.get_vocab(with_added_tokens=True)
    pad_id = next((vocab[t] for t in ("[PAD]", "<pad>", "<|pad|>") if t in vocab), 0)
    if padding is not None:
        pad_id = padding["pad_id"]
    # What the post-processor puts around a text, seen on a probe: its template may be of any kind.
    plain = backend.encode("a", add_special_tokens=False).ids
    full = backend.encode("a", add_special_tokens=True).ids
    start = next(i for i in range(len(full) + 1) if full[i : i + len(plain)] == plain)
    head, tail = full[:start], full[start + len(plain) :]
    return Tokenizer(
        backend,
        max(vocab.values()) + 1,
        pad_id,
        tuple(special),
        tuple(head),
        tuple(tail),
        fingerprint(facts),
    )
