"""BM25, the lexical baseline: Lucene's variant by bm25s, with deterministic ties.

``score(q, d) = sum_{t in q} ln(1 + (n - df_t + 0.5) / (df_t + 0.5)) * tf / (tf + k1 (1 - b + b |d| / avg))``;
a term that occurs twice in the query counts twice. Robertson, Zaragoza, FnTIR 2009; Kamphuis et al.,
ECIR 2020, for the variant.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import bm25s
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from jaxir.checks import InputError
from jaxir.retrieval.topk import RunningTopK, check_k
from jaxir.retrieval.vectors import row_blocks
from jaxir.retrieval.words import analyzer

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG when imported

SCORES_AT_ONCE = 1 << 24
"""Scores held at a time: bounds memory for many queries over a large corpus."""


class BM25:
    """An index in memory over texts that are read once.

    >>> index = BM25(["a cat sat", "dogs and cats", "a house"], ["d1", "d2", "d3"], progress=False)
    >>> scores, rows = index.search(["cat"], k=3)
    >>> [index.ids[row] for row in rows[0] if row >= 0]
    ['d1', 'd2']

    Args:
      texts: one per document, in the order of ``ids``; may be a generator.
      language: an ISO 639-1 code or "auto"; what it does: :func:`jaxir.retrieval.words.analyzer`.
      k1, b: saturation of repeated terms and normalisation by length.
      progress: bars on standard error.

    Raises:
      InputError: no documents, no words in any of them, or another number of ids.
    """

    def __init__(
        self,
        texts: Iterable[str],
        ids: Sequence[str] | np.ndarray,
        *,
        language: str = "en",
        k1: float = 0.9,
        b: float = 0.4,
        progress: bool = True,
    ):
        self.ids = ids
        self.language = language
        self._analyze = analyzer(language)
        self._vocabulary: dict[str, int] = {}
        number_of = self._vocabulary.setdefault
        bar = tqdm(texts, "words", total=len(ids), unit=" docs", disable=not progress, mininterval=0.5)
        documents = [[number_of(term, len(self._vocabulary)) for term in self._analyze(text)] for text in bar]
        if len(documents) != len(ids):
            raise InputError(f"{len(documents)} texts come with {len(ids)} ids; give one id per text")
        if not documents:
            raise InputError("the corpus is empty: there is nothing to search in")
        if not self._vocabulary:
            raise InputError(f"none of the {len(documents)} documents has a word in it")
        self._model = bm25s.BM25(k1=k1, b=b, method="lucene")
        self._model.index((documents, self._vocabulary), create_empty_token=False, show_progress=progress)

    def __len__(self) -> int:
        return len(self.ids)

    def search(
        self, queries: Sequence[str], k: int
    ) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
        """The k best documents per query: (scores [q, k] float32, rows [q, k]).

        Best first, ties lowest row first. A document without any term of the query is not found:
        such places have row -1 and score -inf.

        Raises:
          InputError: k below 1 or above the number of documents.
        """
        n = len(self)
        check_k(k, n)
        results = [RunningTopK(0, k).result()]
        for part in row_blocks(len(queries), max(SCORES_AT_ONCE // n, 1)):
            scores = np.stack([self.scores(query) for query in queries[part]])
            top = RunningTopK(len(scores), k)
            top.update(np.where(scores > 0, scores, -np.inf), 0)
            results.append(top.result())
        scores, rows = zip(*results)
        return np.concatenate(scores), np.concatenate(rows)

    def scores(self, query: str) -> np.ndarray:
        """The scores [n] float32 of all documents; 0 for one without any term of the query."""
        terms = [self._vocabulary[t] for t in self._analyze(query) if t in self._vocabulary]
        if not terms:
            return np.zeros(len(self), np.float32)
        return self._model.get_scores_from_ids(terms)
