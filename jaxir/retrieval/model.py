"""Encoding with a trained model: its prefixes, lengths and text fields, so that no caller repeats them.

A model is what ``jaxir.training.checkpoint.load_model`` returns: anything with the fields ``encoder``,
``params``, ``tokenizer``, ``config`` and ``fingerprint``.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import Mesh
from numpy import ndarray

from jaxir.checks import InputError, check_known
from jaxir.data.prepared import Prepared
from jaxir.files import PathLike, fingerprint
from jaxir.models.cut import cut
from jaxir.models.trained_sizes import size_warning, whole_size
from jaxir.retrieval import encode
from jaxir.retrieval.sparse_vectors import SparseRows
from jaxir.types import Encoder

SIDES = ("doc", "query")


def encoder_of(model: Any, part: str | None = None) -> Encoder:
    """The model's encoder, or the ``part`` of a hybrid.

    Raises:
      InputError: a hybrid and no part, a part that it does not have, or a part of what is no hybrid.
    """
    encoder = model.encoder
    if encoder.kind != "hybrid":
        if part not in (None, encoder.kind):
            raise InputError(f"part {part!r} is of a hybrid; this encoder is {encoder.kind}: leave it out")
        return encoder
    if part is None:
        parts = " or ".join(f"--part={name}" for name in encoder.parts)
        raise InputError(f"the encoder is a hybrid, its parts are encoded one by one: add {parts}")
    check_known("part of the encoder", part, encoder.parts)
    return encoder.parts[part]


def cut_model(model: Any, *, layers: int | None = None, dims: int | None = None, warn: bool = True) -> Any:
    """The model at a smaller size: :func:`jaxir.models.cut.cut` of its encoder, and a fingerprint of its own.

    Both sides have the size (queries of a table or a bag are not cut), and what is encoded names it
    (``settings``), so that vectors of different sizes are never compared. The whole size: the model itself.

    Args:
      warn: of a size at which the model was not trained.

    Raises:
      InputError: sizes that the encoder does not have.
    """
    if layers is None and dims is None:
        return model
    encoder = cut(model.encoder, layers=layers, dims=dims)
    if encoder is model.encoder:
        return model
    said = warn and size_warning(model.config, model.encoder, layers=layers, dims=dims)
    if said:
        warnings.warn(said, stacklevel=2)
    before, whole = model.config.get("size") or {}, whole_size(model.config, model.encoder)
    terms = min(dims or model.encoder.dim, before.get("dims") or model.encoder.dim)
    size = {
        "layers": None if encoder.layers == whole[0] else encoder.layers,
        "dims": None if terms == whole[1] else terms,
    }
    of = before.get("of", model.fingerprint)  # cut twice or once: the same model
    return model._replace(
        encoder=encoder,
        config={**model.config, "size": {**size, "whole": list(whole), "of": of}},
        fingerprint=fingerprint(of, size["layers"], size["dims"]),
    )


def size_of(model: Any) -> dict[str, int | None] | None:
    """The arguments of :func:`cut_model` that made it of the whole model; None of a whole one."""
    size = model.config.get("size")
    return None if not size else {name: size[name] for name in ("layers", "dims")}


def settings(model: Any, side: str = "doc", part: str | None = None) -> dict[str, Any]:
    """How a text of this side becomes a vector; encodings with other settings are not comparable."""
    facts = {"prefix": model.config["prefixes"][side], "max_length": model.config["max_length"][side]}
    if model.encoder.kind == "hybrid":
        facts["part"] = part
    if size_of(model):
        facts["size"] = size_of(model)
    return facts | ({"doc_text": model.config["data"]["doc_text"]} if side == "doc" else {})


QueryFn = Callable[[Sequence[str]], Any]
"""Texts -> their vectors [n, d], float32: an array, or sparse rows of a sparse encoder."""


def make_query_fn(
    model: Any, *, part: str | None = None, mesh: Mesh | None = None, desc: str | None = None
) -> QueryFn:
    """The encoder of query texts, compiled once for all calls.

    Queries that are bags of words (``Encoder.table``) are encoded without a device: the table is read here.
    """
    how = settings(model, "query", part)
    return functools.partial(
        encode.encode_texts,
        encode.make_encode_fn(encoder_of(model, part), model.params, side="query", mesh=mesh),
        tokenize_fn=encode.make_tokenize_fn(
            model.tokenizer, prefix=how["prefix"], max_length=how["max_length"]
        ),
        max_length=how["max_length"],
        desc=desc,
    )


def make_doc_fn(model: Any, *, part: str | None = None) -> Callable[[Sequence[Any]], Any]:
    """The encoder of documents (:class:`jaxir.types.Doc`) that fit in memory, compiled once for all calls."""
    how = settings(model, "doc", part)
    encode_fn = encode.make_encode_fn(encoder_of(model, part), model.params, side="doc")
    tokenize = encode.make_tokenize_fn(model.tokenizer, prefix=how["prefix"], max_length=how["max_length"])
    text = encode.make_text_fn(how["doc_text"])
    return lambda docs: encode.encode_texts(
        encode_fn,
        [text(doc) for doc in docs],
        lambda texts: tokenize(texts),  # without a warning of cut texts for every call
        max_length=how["max_length"],
    )


def encode_queries(
    model: Any,
    texts: Sequence[str],
    *,
    part: str | None = None,
    mesh: Mesh | None = None,
    desc: str | None = None,
) -> ndarray | SparseRows:
    """The vectors of query texts: :func:`make_query_fn` for one call."""
    return make_query_fn(model, part=part, mesh=mesh, desc=desc)(texts)


def encode_prepared(
    model: Any,
    prepared: Prepared,
    out: PathLike,
    *,
    side: str = "doc",
    split: str | None = None,
    part: str | None = None,
    model_path: PathLike | None = None,
    mesh: Mesh | None = None,
    **options: Any,
) -> None:
    """Encodes a prepared data set's documents, or a split's queries, to a vectors directory.

    Args:
      split: of the queries; documents have none.
      part: which representation of a hybrid encoder ("dense" or "sparse").
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
    encoder, how = encoder_of(model, part), settings(model, side, part)
    encode.encode_corpus(
        encode.make_encode_fn(encoder, model.params, side=side, mesh=mesh),
        prepared.docs if side == "doc" else prepared.queries[split],
        out,
        encode.make_tokenize_fn(model.tokenizer, prefix=how["prefix"], max_length=how["max_length"]),
        text_fn=encode.make_text_fn(how.get("doc_text", "text")),
        side=side,
        normalized=encoder.normalized,
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
