"""Encoding with a trained model: its prefixes, lengths and text fields, so that no caller repeats them.

A model is what ``jaxir.training.checkpoint.load_model`` returns: anything with the fields ``encoder``,
``params``, ``tokenizer``, ``config`` and ``fingerprint``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from jax.sharding import Mesh
from jaxtyping import Float
from numpy import ndarray

from jaxir.checks import InputError, check_known
from jaxir.data.prepared import Prepared
from jaxir.files import PathLike
from jaxir.retrieval import encode

SIDES = ("doc", "query")


def settings(model: Any, side: str = "doc") -> dict[str, Any]:
    """How a text of this side becomes tokens; encodings with other settings are not comparable."""
    facts = {"prefix": model.config["prefixes"][side], "max_length": model.config["max_length"][side]}
    return facts | ({"doc_text": model.config["data"]["doc_text"]} if side == "doc" else {})


def encode_queries(
    model: Any, texts: Sequence[str], *, mesh: Mesh | None = None, desc: str | None = None
) -> Float[ndarray, "n d"]:
    """The vectors of query texts."""
    how = settings(model, "query")
    return encode.encode_texts(
        encode.make_encode_fn(model.encoder, model.params, side="query", mesh=mesh),
        texts,
        encode.make_tokenize_fn(model.tokenizer, prefix=how["prefix"], max_length=how["max_length"]),
        max_length=how["max_length"],
        desc=desc,
    )


def encode_prepared(
    model: Any,
    prepared: Prepared,
    out: PathLike,
    *,
    side: str = "doc",
    split: str | None = None,
    model_path: PathLike | None = None,
    mesh: Mesh | None = None,
    **options: Any,
) -> None:
    """Encodes a prepared data set's documents, or a split's queries, to a vectors directory.

    Args:
      split: of the queries; documents have none.
      model_path: the model's work directory, for the manifest: search finds the model by it.
      options: of :func:`jaxir.retrieval.encode.encode_corpus`.

    Raises:
      InputError: an unknown side or split, and what ``encode_corpus`` refuses.
    """
    check_known("side", side, SIDES)
    if side == "doc" and split:
        raise InputError(
            f"split {split!r} is of queries; documents have no splits (side=query encodes queries)"
        )
    if side == "query":
        check_known(f"split of {prepared.name}", split or "", prepared.queries)
    how = settings(model, side)
    encode.encode_corpus(
        encode.make_encode_fn(model.encoder, model.params, side=side, mesh=mesh),
        prepared.docs if side == "doc" else prepared.queries[split],
        out,
        encode.make_tokenize_fn(model.tokenizer, prefix=how["prefix"], max_length=how["max_length"]),
        text_fn=encode.make_text_fn(how.get("doc_text", "text")),
        side=side,
        normalized=model.encoder.normalized,
        model=model.fingerprint,
        model_path=None if model_path is None else os.path.abspath(model_path),
        source={
            "name": prepared.name,
            "fingerprint": prepared.fingerprint,
            "path": os.path.abspath(prepared.path),
            "split": split,
        },
        settings=how,
        max_length=how["max_length"],
        **options,
    )
