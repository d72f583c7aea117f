"""What is known of a vocabulary's entries: document frequencies, stop words, punctuation, inside of words.

A learned sparse representation has one dimension per entry. Inference-free queries weigh theirs by IDF,
and the dimensions that mean nothing to a reader can be blocked.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from tqdm import tqdm

from jaxir.checks import InputError, check_known
from jaxir.data.tokenizer import Tokenizer
from jaxir.files import PathLike, read_json, write_json
from jaxir.types import Doc

BLOCKED = ("special", "punctuation", "stopwords")
"""Names of groups of entries that :func:`blocked_ids` knows."""

CONTINUATIONS = "continuations"

MASKS = ("[MASK]", "<mask>")
"""What mask tokens are called."""

_FUNCTION_WORDS = """
a about above after again against all also am among an and another any are as at be became because been
before being below between both but by can could did do does doing down during each either else etc ever
every few for from further had has have having he hence her here hers herself him himself his how however i
if in into is it its itself just let may me might more most much must my myself neither no nor not now of
off often on once one only onto or other others our ours ourselves out over own per quite rather s same she
should since so some such t than that the their theirs them themselves then there therefore these they this
those though through thus to too toward towards under until unto up upon us very was we were what whatever
when where whether which while who whoever whom whose why will with within without would yet you your yours
yourself yourselves ll ve
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())
"""English function words, and what an apostrophe leaves of them."""

_AT_ONCE = 1024
_BEGINS = ("Ġ", "▁")  # how byte-level and SentencePiece vocabularies mark the beginning of a word


def idf(
    docs: Iterable[Doc | str],
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    doc_text: str = "text",
    progress: bool = False,
) -> Float32[np.ndarray, " v"]:
    """ln(1 + (N - df_j + 1/2) / (df_j + 1/2)) of every entry j of the vocabulary, 0 for special tokens.

    df_j of the N documents contain token j: the IDF of BM25, which is above 0 for every df.

    Args:
      docs: records of a prepared data set, or texts.
      max_length: documents are cut there as an encoder cuts them, special tokens included; None = not.
      doc_text: "text", or "title+text" joined by a space.
      progress: shows a progress bar.

    Raises:
      InputError: there are no documents.
    """
    counts, documents = document_frequencies(
        docs, tokenizer, max_length=max_length, doc_text=doc_text, progress=progress
    )
    if not documents:
        raise InputError("there are no documents to count the words of")
    values = np.log1p((documents - counts + 0.5) / (counts + 0.5)).astype(np.float32)
    values[list(tokenizer.special_ids)] = 0
    return values


def document_frequencies(
    docs: Iterable[Doc | str],
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    doc_text: str = "text",
    progress: bool = False,
) -> tuple[Int64[np.ndarray, " v"], int]:
    """In how many of the documents each token occurs, and how many documents there are."""
    check_known("doc_text", doc_text, ("text", "title+text"))
    size = tokenizer.vocab_size
    room = None if max_length is None else tokenizer.room(max_length)
    counts, documents = np.zeros(size, np.int64), 0
    total = len(docs) if hasattr(docs, "__len__") else None
    with tqdm(total=total, desc="idf", unit=" docs", disable=not progress, mininterval=0.5) as bar:
        for texts in _blocks(docs, doc_text):
            ids = [i[:room] for i in tokenizer.encode_plain(texts)]
            row = np.repeat(np.arange(len(ids), dtype=np.int64), [len(i) for i in ids])
            once = np.unique(row * size + np.concatenate(ids))
            counts += np.bincount(once % size, minlength=size)
            documents += len(texts)
            bar.update(len(texts))
    return counts, documents


def _blocks(docs: Iterable[Doc | str], doc_text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for doc in docs:
        if isinstance(doc, str):
            block.append(doc)
        else:
            block.append(f"{doc.title} {doc.text}" if doc_text == "title+text" else doc.text)
        if len(block) == _AT_ONCE:
            yield block
            block = []
    if block:
        yield block


def save_idf(
    path: PathLike, idf: Float32[np.ndarray, " v"], tokenizer: Tokenizer, *, documents: int | None = None
) -> None:
    """Writes a table as JSON, {"idf": {token: weight}, "tokenizer": fingerprint, "documents": N}."""
    weights = {token: round(float(idf[number]), 6) for token, number in _by_id(tokenizer)}
    write_json(path, {"idf": weights, "tokenizer": tokenizer.fingerprint, "documents": documents})


def load_idf(path: PathLike, tokenizer: Tokenizer) -> Float32[np.ndarray, " v"]:
    """Reads a table of :func:`save_idf`'s, or a plain {token: weight} JSON such as published models bring.

    Tables are matched by token, so any tokenizer of the same vocabulary will do. A plain one need not hold
    every token: those it lacks weigh 1, special tokens 0.

    Raises:
      InputError: no such file, no table, a weight that is negative or not a number, or a table of another
        vocabulary.
    """
    found = read_json(path)
    ours = isinstance(found, dict) and isinstance(found.get("idf"), dict)
    table = found["idf"] if ours else found
    if not isinstance(table, dict) or not table:
        raise InputError(f"{path} is no table of weights: expected a JSON object {{token: weight}}")
    wrong = [t for t, w in table.items() if not _is_weight(w)]
    if wrong:
        raise InputError(
            f"{path}: the weight of {wrong[0]!r} is {table[wrong[0]]!r}, expected a number of at least 0"
        )
    vocab = dict(_by_id(tokenizer))
    foreign = [token for token in table if token not in vocab]
    missing = [token for token in vocab if token not in table]
    if foreign or (ours and missing) or len(missing) > len(vocab) / 2:
        raise InputError(
            f"{path} is a table of another vocabulary: {len(foreign):,} of its {len(table):,} tokens"
            f"{_some(foreign)} are unknown to the tokenizer, which has {len(missing):,} that it "
            f"lacks{_some(missing)}. Make one with this tokenizer: jaxir prepare --idf --tokenizer=..."
        )
    values = np.zeros(tokenizer.vocab_size, np.float32)
    special = set(tokenizer.special_ids)
    for token, number in vocab.items():
        values[number] = table.get(token, 0.0 if number in special else 1.0)
    return values


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _some(tokens: Sequence[str]) -> str:
    return f" ({', '.join(map(repr, tokens[:3]))}{', ...' if len(tokens) > 3 else ''})" if tokens else ""


def special_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that stand for no text: [CLS], [PAD], [unused7], ..."""
    unused = [n for token, n in _by_id(tokenizer) if token.startswith("[unused") and token.endswith("]")]
    return tuple(sorted({*tokenizer.special_ids, *unused}))


def ids_of(tokenizer: Tokenizer, given: Sequence[str | int]) -> tuple[int, ...]:
    """What a config means by ids, names of :data:`BLOCKED`, and "continuations", in ascending order.

    Raises:
      InputError: another name.
    """
    names = [name for name in given if not isinstance(name, int)]
    for name in names:
        check_known("group of tokens", name, (*BLOCKED, CONTINUATIONS))
    found = {i for i in given if isinstance(i, int)}
    found |= set(blocked_ids(tokenizer, [name for name in names if name != CONTINUATIONS]))
    return tuple(sorted(found | set(continuation_ids(tokenizer) if CONTINUATIONS in names else ())))


def blocked_ids(tokenizer: Tokenizer, names: Sequence[str] = BLOCKED) -> tuple[int, ...]:
    """Entries of the vocabulary that say little about what a text is about, in ascending order.

    Args:
      names: any of "special" (:func:`special_ids`), "punctuation" (no letter, digit or picture in it) and
        "stopwords" (whole English function words, in any case).

    Raises:
      InputError: another name.
    """
    for name in names:
        check_known("group of tokens", name, BLOCKED)
    blocked = set(special_ids(tokenizer)) if "special" in names else set()
    inside = set(continuation_ids(tokenizer)) if "stopwords" in names else set()
    special = set(special_ids(tokenizer))
    for number, text in surfaces(tokenizer).items():
        if number in special:
            continue
        if "punctuation" in names and all(map(_is_sign, text)):
            blocked.add(number)
        if "stopwords" in names and number not in inside and text.lower() in STOPWORDS:
            blocked.add(number)
    return tuple(sorted(blocked))


def continuation_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Entries that continue a word ("##ing"; or without the mark of a beginning where beginnings are marked).

    Empty where the vocabulary marks neither. Special tokens are none.
    """
    special = set(special_ids(tokenizer))
    prefix = _inside_prefix(tokenizer)
    entries = [(token, n) for token, n in _by_id(tokenizer) if n not in special]
    if prefix:
        return tuple(n for token, n in entries if token.startswith(prefix) and token != prefix)
    marked = {n for token, n in entries if token.startswith(_BEGINS)}
    # A mark alone proves nothing: it is also the sign for the byte of a space.
    if not any(n in marked and len(token) > 1 for token, n in entries):
        return ()
    return tuple(n for _, n in entries if n not in marked)


def mask_id(tokenizer: Tokenizer) -> int:
    """The token that stands for a hidden one in masked language models.

    Raises:
      InputError: the vocabulary has none.
    """
    found = [tokenizer.backend.token_to_id(token) for token in MASKS]
    known = [number for number in found if number is not None]
    if not known:
        raise InputError(
            f"the tokenizer has no mask token ({' or '.join(MASKS)}): train one, or give mask_id, the id "
            "of a token that no text has"
        )
    return known[0]


def surfaces(tokenizer: Tokenizer) -> dict[int, str]:
    """id -> the text that an entry stands for, without the marks of the vocabulary and spaces around."""
    return {number: surface(tokenizer, token).strip() for token, number in _by_id(tokenizer)}


def surface(tokenizer: Tokenizer, token: str) -> str:
    """The text that one entry stands for; U+FFFD for a part of a character's bytes."""
    decoder, prefix = tokenizer.backend.decoder, _inside_prefix(tokenizer)
    if prefix:
        return token.removeprefix(prefix) or token
    return decoder.decode([token]) if decoder is not None else token


def _inside_prefix(tokenizer: Tokenizer) -> str | None:
    """How the inside of a word is marked: "##" for WordPiece."""
    return getattr(tokenizer.backend.model, "continuing_subword_prefix", None) or None


def _by_id(tokenizer: Tokenizer) -> list[tuple[str, int]]:
    vocab: dict[str, int] = tokenizer.backend.get_vocab(with_added_tokens=True)
    return sorted(vocab.items(), key=lambda entry: entry[1])


def _is_sign(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character)[0] in "PZC"
