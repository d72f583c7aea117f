"""What a learned sparse encoder sees in a text: its terms, and which of them a query meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxir.checks import InputError
from jaxir.data.padding import pad, step_of
from jaxir.data.prepared import DOCS, Prepared
from jaxir.data.records import Records
from jaxir.data.tokenizer import Tokenizer
from jaxir.data.vocabulary import surface
from jaxir.training.checkpoint import Model
from jaxir.types import Doc, Encoder, Side


class Term(NamedTuple):
    token: str
    weight: float
    occurs: bool  # in the text itself; otherwise the encoder added it


class Match(NamedTuple):
    token: str
    query_weight: float
    doc_weight: float
    contribution: float  # their product; the contributions sum to the score


class Explanation(NamedTuple):
    """Heaviest first; a list is empty and the score None where no such text was given."""

    terms: list[Term]  # of the document
    query_terms: list[Term]
    matches: list[Match]
    score: float | None


def explain(model: Model, text: str | None = None, *, query: str | None = None) -> Explanation:
    """The active terms of a document's text, of a query, and what each common one adds to their score.

    Args:
      model: of :func:`jaxir.training.checkpoint.load_model`; of a hybrid its sparse part.
      text: read as a document.
      query: read as a query.

    Raises:
      InputError: the encoder is not sparse, or neither a text nor a query is given.

    >>> [term for term in explain(model, "the red fox").terms if not term.occurs]  # doctest: +SKIP
    [Term(token='animal', weight=0.71, occurs=False), ...]
    """
    encoder = sparse_part(model.encoder)
    if text is None and query is None:
        raise InputError("give a text or a query to explain")
    doc = None if text is None else weights(model, encoder, [text], "doc")[0]
    asked = None if query is None else weights(model, encoder, [query], "query")[0]
    matches = [] if doc is None or asked is None else _matches(model.tokenizer, asked, doc)
    return Explanation(
        [] if doc is None or text is None else _terms(model, doc, text, "doc"),
        [] if asked is None or query is None else _terms(model, asked, query, "query"),
        matches,
        None if doc is None or asked is None else float(asked @ doc),
    )


def sparse_part(encoder: Encoder) -> Encoder:
    """The encoder itself if it is sparse, or a hybrid's part that is.

    Raises:
      InputError: its dimensions are not terms.
    """
    for one in (encoder, *(encoder.parts or {}).values()):
        if one.kind == "sparse":
            return one
    raise InputError(
        f"this encoder gives {encoder.kind} representations, whose dimensions are no terms; learned sparse "
        "encoders alone can be explained, such as one trained with --config=splade"
    )


def weights(model: Model, encoder: Encoder, texts: Sequence[str], side: Side) -> np.ndarray:
    """[n, v] float32 of a few texts, with the model's prefix and length."""
    limit = model.config["max_length"][side]
    prefix = model.config["prefixes"][side]
    ids = model.tokenizer.encode_batch([prefix + text for text in texts], max_length=limit)
    length = step_of(min(limit, max(1, *map(len, ids))), tuple(model.config["ladder"]))
    length = min(length, encoder.max_length or length)
    encode = jax.jit(lambda params, tokens: encoder.encode(params, tokens, side=side).values)
    return np.asarray(encode(model.params, pad(ids, length)), np.float32)


def find_doc(prepared: Prepared, doc_id: str) -> Doc:
    """The document of an id, by a walk over the ids.

    Raises:
      InputError: there is none.
    """
    docs = prepared.docs
    ids = Records(docs.directory, docs.split, {"doc_id": DOCS["doc_id"]}, str, len(docs))
    for row, known in enumerate(ids):
        if known == doc_id:
            return docs[row]
    raise InputError(f"{prepared.name} has no document {doc_id!r}; its first is {docs[0].doc_id!r}")


def label(tokenizer: Tokenizer, number: int) -> str:
    """How a term is shown: readable, "##x" inside of words where the vocabulary says so."""
    token = tokenizer.backend.id_to_token(number)
    if token is None:
        return f"#{number}"  # an entry beyond the tokenizer's
    return token if token.startswith("##") else surface(tokenizer, token).strip() or token


def _terms(model: Model, row: np.ndarray, text: str, side: Side) -> list[Term]:
    present = set(model.tokenizer.encode_plain([model.config["prefixes"][side] + text])[0].tolist())
    return [Term(label(model.tokenizer, j), float(row[j]), j in present) for j in _heaviest(row)]


def _matches(tokenizer: Tokenizer, query: np.ndarray, doc: np.ndarray) -> list[Match]:
    product = query * doc
    return [
        Match(label(tokenizer, j), float(query[j]), float(doc[j]), float(product[j]))
        for j in _heaviest(product)
    ]


def _heaviest(row: np.ndarray) -> list[int]:
    return [int(j) for j in np.argsort(-row, kind="stable")[: int((row != 0).sum())]]
