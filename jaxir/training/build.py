"""A config -> the parts of a run. Each part is built by one short function that can be called alone."""

from __future__ import annotations

import inspect
import itertools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxir import processes
from jaxir.checks import InputError
from jaxir.config import Allow, bind, build, import_path
from jaxir.data import feed as feeds
from jaxir.data import tokenizer as tokenizers
from jaxir.data import vocabulary
from jaxir.data.prepare import prepare_spec
from jaxir.data.prepared import Prepared
from jaxir.files import PathLike
from jaxir.models import lora
from jaxir.models.pretrained.assembling import ID_FIELDS, with_ids
from jaxir.objectives import Objective, combine
from jaxir.training.pairs import check_terms_of_pairs
from jaxir.types import Encoder

Config = Mapping[str, Any]

IDF = "idf.json"


def build_encoder(config: Config, tokenizer: tokenizers.Tokenizer | int, *, allow: Allow = None) -> Encoder:
    """The encoder of ``config["encoder"]``, for a tokenizer's vocabulary if it does not name a size.

    An encoder that asks for ids of special tokens, blocked entries or insides of words gets the tokenizer's
    (:mod:`jaxir.data.vocabulary`), where the config gives names ("stopwords") or nothing.

    Args:
      tokenizer: or only its number of tokens, where shapes are all that matters.

    Raises:
      InputError: it names a size that does not hold the tokenizer's.
    """
    known = isinstance(tokenizer, int)
    vocab_size = tokenizer if known else tokenizer.vocab_size
    spec = dict(config["encoder"])
    if not known:
        spec = with_ids(spec, tokenizer, allow=allow)
    else:  # names of ids mean nothing without a tokenizer, and change no shape
        spec = {k: v for k, v in spec.items() if k not in ID_FIELDS or all(isinstance(i, int) for i in v)}
        if "mask_id" in inspect.signature(import_path(spec["fn"], allow=allow)).parameters:
            spec.setdefault("mask_id", 0)
    if spec.get("vocab_size") is None:
        return build({k: v for k, v in spec.items() if k != "vocab_size"}, allow=allow, vocab_size=vocab_size)
    if spec["vocab_size"] < vocab_size:
        raise InputError(
            f"encoder.vocab_size is {spec['vocab_size']} and the tokenizer has {vocab_size} tokens: "
            "leave it out, or raise it"
        )
    return build(spec, allow=allow)


def needs_idf(config: Config, *, allow: Allow = None) -> bool:
    """Whether a term of the objective asks for the table of :func:`build_idf`."""
    terms = [term for term in config["objective"].values() if "idf" not in term]
    return any("idf" in inspect.signature(import_path(t["fn"], allow=allow)).parameters for t in terms)


def build_idf(
    config: Config,
    data: list[tuple[Prepared, float]],
    tokenizer: tokenizers.Tokenizer,
    workdir: PathLike,
    *,
    progress: bool = True,
) -> np.ndarray:
    """The table [v] of ``config["idf"]``, or counted on the run's documents; kept as workdir/idf.json.

    Raises:
      InputError: a table of another vocabulary.
    """
    path = pathlib.Path(workdir) / IDF
    with processes.first_then_others("idf"):
        if not path.is_file():
            if config.get("idf"):
                table, documents = vocabulary.load_idf(config["idf"], tokenizer), None
            else:
                how = dict(max_length=config["max_length"]["doc"], doc_text=config["data"]["doc_text"])
                docs = [prepared.docs for prepared, _ in data]
                texts = itertools.chain.from_iterable(docs)
                table = vocabulary.idf(texts, tokenizer, **how, progress=progress)
                documents = sum(map(len, docs))
            vocabulary.save_idf(path, table, tokenizer, documents=documents)
        return vocabulary.load_idf(path, tokenizer)


def build_objective(
    config: Config, encoder: Encoder, *, arrays: Mapping[str, Any] | None = None, allow: Allow = None
) -> Objective:
    """The objective of ``config["objective"]``, at the sizes of ``config["nested"]``.

    Args:
      arrays: see :func:`jaxir.objectives.combine`.

    Raises:
      InputError: what its terms or sizes are refused for; a term that a cross-encoder's scores are not for.
    """
    objective = combine(config["objective"], arrays=arrays, allow=allow)
    if encoder.kind == "scores":
        check_terms_of_pairs(config["objective"])
    sizes = config.get("nested")
    if not sizes:
        return objective
    wrapper = bind(sizes, allow=allow)
    try:
        inspect.signature(wrapper).bind(objective, encoder=encoder)
    except TypeError as error:
        raise InputError(f"nested={sizes!r} cannot wrap the objective: {error}") from error
    return wrapper(objective, encoder=encoder)


def adapted(encoder: Encoder, config: Config) -> Encoder:
    """The encoder that is trained: with adapters where ``config["lora"]`` has a rank above 0."""
    options = dict(config.get("lora") or {"rank": 0})
    if not options["rank"]:
        return encoder
    options.pop("trained", None)
    return lora.lora(encoder, **options)


def build_data(config: Config, workdir: PathLike, *, progress: bool = True) -> list[tuple[Prepared, float]]:
    """Prepares (once) and opens the config's data sets, with their weights."""
    data = config["data"]
    sources = data["sources"] or (dict(source=data["source"], weight=1.0),)
    entries = [s if isinstance(s, Mapping) else dict(source=s) for s in sources]
    folder = pathlib.Path(workdir) / "data"
    with processes.first_then_others("data"):
        return [
            (prepare_spec(e["source"], folder, progress=progress), float(e.get("weight", 1.0)))
            for e in entries
        ]


def build_tokenizer(
    config: Config,
    data: list[tuple[Prepared, float]],
    workdir: PathLike,
    *,
    limit: int = 1_000_000,
    progress: bool = True,
) -> tokenizers.Tokenizer:
    """Loads ``config["tokenizer"]["path"]``, or trains one on (at most ``limit``) documents.

    The result stands in ``workdir/tokenizer.json``; one that is there already is used as it is, so that
    a run that goes on has the vocabulary it began with, and one from ``init_from`` the model's.
    """
    path = pathlib.Path(workdir) / "tokenizer.json"
    with processes.first_then_others("tokenizer"):
        if path.is_file() or config.get("init_from"):
            return tokenizers.load(path)
        options = dict(config["tokenizer"])
        given = options.pop("path", None)
        if given:
            tokenizer = tokenizers.load(given)
        else:
            tokenizer = tokenizers.train(_texts(data, config, limit, progress), **options)
        tokenizer.save(path)
        return tokenizer


def _texts(data: list[tuple[Prepared, float]], config: Config, limit: int, progress: bool) -> Iterator[str]:
    split = config["data"]["split"]
    total = sum(min(len(p.docs) + len(p.queries.get(split, ())), limit) for p, _ in data)
    with tqdm(total=total, desc="tokenizer", unit="text", mininterval=0.5, disable=not progress) as bar:
        for prepared, _ in data:
            for i, doc in enumerate(prepared.docs):
                if i >= limit:
                    break
                yield f"{doc.title} {doc.text}" if config["data"]["doc_text"] != "text" else doc.text
                bar.update()
            for i, query in enumerate(prepared.queries.get(split, ())):
                if i >= limit:
                    break
                yield query.text
                bar.update()


def packed_groups(config: Config, encoder: Encoder, devices: int, chunk: int | None = None) -> int:
    """Into how many groups the feed packs a batch's tokens; 0 = it pads.

    One per micro-batch, or per ``chunk`` of it, if chunks divide it.

    Raises:
      InputError: ``data.packed=True`` on several devices.
    """
    wanted = config["data"].get("packed")
    if wanted and devices > 1:
        raise InputError(f"data.packed is for one device and the mesh has {devices}: leave it unset")
    if wanted is None:
        wanted = devices == 1 and jax.default_backend() == "cpu"
    if not wanted or not encoder.packs:
        return 0
    entries = config["batch_size"] // config["accumulate"]
    chunks = 1 if chunk is None else -(-entries // chunk)
    return 0 if entries % chunks else config["accumulate"] * chunks


def negatives_of(config: Config, count: int = 1) -> list[Any] | None:
    """The negatives file or files of each of the config's ``count`` data sets; None where none has any.

    Raises:
      InputError: ``negatives_file`` and ``negatives_files`` are both set.
    """
    data = config["data"]
    one, several = data.get("negatives_file"), tuple(data.get("negatives_files") or ())
    if one and several:
        raise InputError(
            f"data.negatives_file is {one} and data.negatives_files names {len(several)} more: name all of "
            "them in negatives_files"
        )
    common = several or one
    own = [s.get("negatives_files") if isinstance(s, Mapping) else None for s in data["sources"]]
    found = [files or common for files in (own or [None] * count)]
    return found if any(found) else None


def build_feed(
    config: Config,
    data: list[tuple[Prepared, float]],
    tokenizer: tokenizers.Tokenizer,
    *,
    rows: np.ndarray | None = None,
    packed: int = 0,
) -> feeds.Feed:
    """The training batches: batch i is a function of (config, i).

    Args:
      rows: the rows of the global batch that this process feeds (:func:`jaxir.training.mesh.own_rows`).
      packed: :func:`packed_groups`.
    """
    options = config["data"]
    for prepared, _ in data:
        if options.get("pairs") != "documents" and options["split"] not in prepared.qrels:
            raise InputError(
                f"{prepared.name} has no split {options['split']!r} to train on; it has "
                f"{', '.join(prepared.qrels) or 'none'}. Documents alone: data.pairs='documents'"
            )
    return feeds.feed(
        data,
        tokenizer,
        batch_size=config["batch_size"],
        seed=config["seed"],
        split=options["split"],
        pairs=options.get("pairs"),
        pair_suffix=options.get("pair_suffix") or "",
        listed=options["listed"],
        listed_from=options["listed_from"],
        negatives_file=negatives_of(config, len(data)),
        one_per=options.get("one_per") or "positive",
        prefixes=dict(config["prefixes"]),
        max_length=dict(config["max_length"]),
        ladder=tuple(config["ladder"]),
        doc_text=options["doc_text"],
        augment=tuple(bind(a) for a in options["augment"]),
        same_source_batches=options["same_source_batches"],
        packed=packed,
        process_index=processes.index(),
        process_count=processes.count(),
        rows=rows,
    )
