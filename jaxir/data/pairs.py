"""A query and a document as one text, for encoders that read both: [CLS] query [SEP] document [SEP]."""

from __future__ import annotations

import numpy as np

from jaxir.checks import InputError
from jaxir.data.ragged import Ragged
from jaxir.data.tokenizer import Tokenizer


class Joiner:
    """Puts queries and documents together, with the special tokens that the tokenizer has for pairs.

    The query is kept, up to ``query`` tokens with the special ones it would have alone. What is left of
    ``pair``, the length of the whole, is the document's, which alone is cut to it. ``suffix`` is text behind
    every document, such as the " Relevant:" after which a decoder's next word is looked at.

    Raises:
      InputError: the longest query would leave the document no token.
    """

    def __init__(self, tokenizer: Tokenizer, *, query: int, pair: int, suffix: str = "") -> None:
        self.special = tokenizer.pair()
        self.query_room = tokenizer.room(query)
        self._tail = (*(tokenizer.encode_plain([suffix])[0].tolist() if suffix else ()), *self.special.tail)
        fixed = len(self.special.head) + len(self.special.middle) + len(self._tail)
        self._left = pair - fixed
        if self._left - self.query_room < 1:
            raise InputError(
                f"max_length.doc is {pair}, which for joined pairs is the length of query and document "
                f"together: {fixed} tokens around them and a query of max_length.query={query} leave no room "
                "for the document. Raise max_length.doc, or lower max_length.query"
            )

    def room(self, queries: Ragged) -> np.ndarray:
        """How many tokens each query leaves its document: [m] int64."""
        return self._left - np.minimum(queries.lengths, self.query_room)

    def __call__(self, queries: Ragged, docs: Ragged) -> Ragged:
        """m pairs of m queries and m documents, none of which has special tokens yet."""
        first = queries.cut(self.query_room).surround(self.special.head, self.special.middle)
        return first.beside(docs.cut(self.room(queries)).surround((), self._tail))
