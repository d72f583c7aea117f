"""Text to words for lexical search: English stems, words elsewhere, bigrams where nobody writes spaces."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable

import Stemmer
from bm25s.stopwords import STOPWORDS_EN

from jaxir.checks import InputError

WITHOUT_SPACES = ("zh", "ja", "th", "lo", "km", "my", "bo")
"""Languages whose every run of letters becomes character bigrams."""

# Thai and Lao, Tibetan, Myanmar, Khmer, kana, bopomofo, Han (with extensions). Hangul has spaces.
_NO_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_ASCII_WORDS = re.compile(r"\w\w+")

Analyzer = Callable[[str], list[str]]


def analyzer(language: str = "en") -> Analyzer:
    """The function text -> terms for a language (an ISO 639-1 code, or "auto").

    - "en": lower case, words of two characters or more, without English stop words, Snowball stems.
    - zh, ja, th, lo, km, my, bo: character bigrams of each run of letters.
    - any other, and "auto": lower-cased words without stemming.

    Whatever the language, a run of letters in a script written without spaces becomes bigrams, so
    that a mixed collection works too.

    >>> analyzer("en")("The searching of indexes, and the search")
    ['search', 'index', 'search']
    >>> analyzer("auto")("Die Katze 東京都")
    ['die', 'katze', '東京', '京都']

    Raises:
      InputError: for something that is no language code.
    """
    if not re.fullmatch(r"auto|[a-z]{2,3}", language):
        raise InputError(f"language is {language!r}, expected an ISO 639 code like 'en', or 'auto'")
    if language == "en":
        return _english()
    return functools.partial(split, bigrams=language in WITHOUT_SPACES)


def split(text: str, *, bigrams: bool = False) -> list[str]:
    """Lower-cased words of two characters or more; bigrams of runs in scripts without spaces.

    Args:
      bigrams: of every run, whatever its script. A run of one character is its own term.
    """
    text = text.lower()
    if not bigrams and text.isascii():
        return _ASCII_WORDS.findall(text)
    terms: list[str] = []
    for run in _runs().findall(text):
        if bigrams or _NO_SPACES.search(run):
            terms += [run[i : i + 2] for i in range(len(run) - 1)] or [run]
        elif len(run) > 1:
            terms.append(run)
    return terms


@functools.cache
def _runs() -> re.Pattern[str]:
    # Python's \w leaves out combining marks: Thai and Hindi vowels would cut their words.
    marks = "".join(chr(c) for c in range(0x300, 0x10000) if unicodedata.category(chr(c)) in ("Mn", "Mc"))
    return re.compile(rf"[\w{marks}]+")


def _english() -> Analyzer:
    stem = functools.lru_cache(1 << 20)(Stemmer.Stemmer("english").stemWord)
    stop = frozenset(STOPWORDS_EN)
    return lambda text: [stem(word) for word in split(text) if word not in stop]
