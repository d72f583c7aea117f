"""Learned sparse encoders: of SparseEncoder folders, and of any backbone with a head over its vocabulary."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxir.checks import InputError
from jaxir.config import TRUSTED, build
from jaxir.files import fingerprint, read_json
from jaxir.models.config import TransformerConfig
from jaxir.models.pretrained import families, modules, weights
from jaxir.models.pretrained.assembling import (
    SMAE,
    SPLADE,
    Pretrained,
    Source,
    assemble,
    check_vocabulary,
    open_tokenizer,
    splade_fields,
    with_ids,
)
from jaxir.models.pretrained.backbone import open_backbone
from jaxir.models.pretrained.names import under
from jaxir.models.pretrained.sparse_modules import Sparse
from jaxir.models.sparse import WEIGHTS
from jaxir.models.towers import SIDES
from jaxir.trees import named

DENSE = ("pooling", "projection", "normalize")


def read_sparse(
    described: modules.Described,
    said: Sparse | None,
    arguments: Mapping[str, Any],
    changes: Mapping[str, Any],
    dtype: Any,
    shardings: weights.Shardings | None,
    *,
    ignore: tuple[str, ...],
) -> Pretrained:
    """The splade encoder of a folder, with ``arguments`` of it that differ from what the folder says.

    Args:
      said: what a SparseEncoder folder says; None for a backbone.
      changes: arguments of the trunk that differ.

    Raises:
      InputError: a backbone without a head over its vocabulary (offers its embeddings as one), tensors that
        do not fit, a query table of another vocabulary.
    """
    check_changes(changes)
    folder, backbone = described.trunk, open_backbone(described.trunk)
    family, hf, opened = backbone.family, backbone.hf, backbone.opened
    given_by = said.arguments if said else {}
    spec = {"fn": SPLADE, **splade_fields(backbone.fields), **given_by, **arguments, **changes}
    config = backbone.config_of(spec)
    has_head = _has_head(family, hf, config, opened)
    if arguments.get("head") is None:
        if not has_head:
            raise no_head(folder)
        spec["head"] = family.mlm(hf)
    tokenizer = open_tokenizer(folder, described.lowercase)
    check_vocabulary(folder, tokenizer, config.vocab_size)
    given: dict[str, np.ndarray] = {}
    if said is not None and said.table is not None and arguments.get("query", "table") == "table":
        values, frozen = _query_table(said.table, folder, tokenizer, config.vocab_size)
        query, never = _bag_or_table(values, frozen and "query" not in arguments, tokenizer)
        spec = {"special_ids": never, **spec, "query": query}
        given = {WEIGHTS: values} if query == "table" else {}
    spec = with_ids(spec, tokenizer)
    if said is not None and said.max_active is not None and "top_k" not in arguments:
        spec["top_k"] = said.max_active
        _check_bags_are_whole(spec, _length(described, backbone.whole, config), folder)

    encoder = build(spec, allow=TRUSTED)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    flat = named(shapes)
    table = under("trunk", family.names(config))
    if has_head:
        table |= under("mlm", family.mlm_names(config))
    towers = {f"{side}/": opened for side in SIDES} if spec.get("towers") == "separate" else {"": opened}
    if said is not None and said.query_trunk is not None and "query/" in towers:
        towers["query/"] = _opened_like(said.query_trunk, family, hf)
    sources: dict[str, Source] = {**given}
    for tower, files in towers.items():
        wanted = {f"{tower}{path}": t for path, t in table.items() if f"{tower}{path}" in flat}
        backbone.check(wanted, flat, opened=files, ignore=ignore)
        sources |= {path: (files, tensor) for path, tensor in wanted.items()}
    params = assemble(shapes, sources, encoder, dtype, shardings)
    names = [tokenizer.fingerprint, *(weights.fingerprint(files) for files in towers.values())]
    if given:
        names.append(fingerprint(given[WEIGHTS].tolist()))
    limits = [n for n in (described.max_length, encoder.max_length) if n is not None]
    return Pretrained(
        spec,
        params,
        tokenizer,
        described.prompts,
        min(limits, default=None),
        folder,
        fingerprint(spec, *names),
        dict(spec["head"]),
    )


def check_changes(changes: Mapping[str, Any]) -> None:
    """Raises for an argument of dense encoders."""
    for name in changes:
        if name in DENSE:
            raise InputError(
                f"{name} is an argument of dense encoders, and this one is sparse: its own go into "
                "sparse=dict(...)"
            )


class NoHead(InputError):
    """A backbone without a head over its vocabulary."""


def no_head(folder: pathlib.Path) -> NoHead:
    """What a backbone without a head over its vocabulary is answered with."""
    return NoHead(
        f"{folder} has no head over its vocabulary (masked language models have one), which a sparse encoder "
        "pools. Its token embeddings can be one: sparse=dict(head=dict(transform=False)), in a config "
        "init_with.sparse, to be trained with the encoder"
    )


def _has_head(family: ModuleType, hf: Mapping[str, Any], config: TransformerConfig, opened: Any) -> bool:
    if not hasattr(family, "mlm"):
        return False
    wanted = family.mlm_names(config)
    stored = [t.name for path, t in wanted.items() if t.name in opened.files and path != "decoder/kernel"]
    needs = [path for path in wanted if path != "decoder/kernel" or not family.mlm(hf).get("tied", True)]
    own = "decoder/kernel" in needs and wanted["decoder/kernel"].name in opened.files
    return bool(stored) or own or not needs  # tied decoders need no tensor


def _bag_or_table(values: np.ndarray, frozen: bool, tokenizer: Any) -> tuple[str, list[int]]:
    """What a SparseStaticEmbedding is to the splade encoder: ``query``, and the ids that never count.

    These are the special tokens put around a text, which such a module does not see, and special tokens
    without a weight. Frozen weights that are 1 for all other tokens are a bag.
    """
    from jaxir.data import vocabulary

    silent = [i for i in vocabulary.special_ids(tokenizer) if values[i] == 0]
    never = sorted({*silent, *tokenizer.head, *tokenizer.tail})
    ones = np.zeros_like(values)
    ones[: tokenizer.vocab_size] = 1
    ones[never] = 0
    return ("bag" if frozen and np.array_equal(values, ones) else "table"), never


def _check_bags_are_whole(spec: Mapping[str, Any], length: int | None, folder: pathlib.Path) -> None:
    """Raises where pruning would cut a query's bag of words: such bags are not pruned here."""
    kept = spec["top_k"]
    if spec.get("query", "encoder") != "encoder" and (length is None or kept < length):
        raise InputError(
            f"{folder} keeps {kept} entries of its queries' bags too, which jaxir does not prune: read it "
            f"with sparse=dict(top_k={{'doc': {kept}}})"
        )


def _length(described: modules.Described, whole: TransformerConfig, config: TransformerConfig) -> int | None:
    longest = config.max_positions if whole.positions == "learned" else None
    return min((n for n in (described.max_length, longest) if n is not None), default=None)


def _opened_like(folder: pathlib.Path, family: ModuleType, hf: Mapping[str, Any]) -> weights.Weights:
    """The weights of queries' own encoder, which must be of the documents' shape."""
    other, theirs = families.of_config(read_json(folder / "config.json"))
    if (
        other is not family
        or family.trunk(theirs) != family.trunk(hf)
        or family.mlm(theirs) != family.mlm(hf)
    ):
        raise InputError(
            f"{folder}, the encoder of queries, has another shape than that of documents; jaxir's separate "
            "towers have one shape"
        )
    return weights.open_folder(folder, prefixes=family.PREFIXES, renames=family.RENAMES)


def _query_table(
    table: pathlib.Path, folder: pathlib.Path, tokenizer: Any, rows: int
) -> tuple[np.ndarray, bool]:
    """The weights of a SparseStaticEmbedding, as many as the vocabulary has; and whether they are frozen."""
    # Imported here: the `tokenizers` library is not needed by those who bring their own token ids.
    from jaxir.data import tokenizer as tokenizers
    from jaxir.data import vocabulary

    config = read_json(table / "config.json") if (table / "config.json").is_file() else {}
    own = table / "tokenizer.json"
    if own.is_file() and tokenizers.load(own).backend.get_vocab() != tokenizer.backend.get_vocab():
        raise InputError(f"{table} and {folder} have tokenizers of different vocabularies")
    if (table / weights.SINGLE).is_file():
        values = np.asarray(weights.open_folder(table).read("weight", ()), np.float32)
    else:
        places = [home / "idf.json" for home in (table, table.parent)]
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise InputError(f"{table} has neither {weights.SINGLE} nor idf.json: no weights of query tokens")
        values = np.asarray(vocabulary.load_idf(path, tokenizer), np.float32)
    if values.ndim != 1 or len(values) > rows:
        raise InputError(
            f"{table} has weights of shape {list(values.shape)} and the vocabulary {rows} entries; they do "
            "not belong together"
        )
    if values.min(initial=0) < 0:
        raise InputError(
            f"{table} has {int((values < 0).sum())} negative weights of query tokens; jaxir's sparse "
            "representations have none"
        )
    return np.pad(values, (0, rows - len(values))), bool(config.get("frozen", False))


def sparse_spec(
    spec: Mapping[str, Any], arguments: Mapping[str, Any], folder: pathlib.Path
) -> dict[str, Any]:
    """The spec of jaxir's own folder with ``arguments`` of the splade encoder put in.

    Raises:
      InputError: the folder holds neither a sparse encoder nor a transformer, or no head.
    """
    if spec["fn"] == SPLADE:
        return {**spec, **arguments}
    kept = [*TransformerConfig.__dataclass_fields__, "towers"]
    if spec["fn"] == SMAE:
        arguments = {"head": dict(spec.get("head") or {}), **arguments}
    trunk = {k: v for k, v in spec.items() if k in kept}
    if not trunk.keys() - {"vocab_size", "dim"} or "static" in spec["fn"]:
        raise InputError(f"{folder} is made by {spec['fn']}, which has no trunk for a sparse encoder")
    if arguments.get("head") is None:
        raise no_head(folder)
    return {"fn": SPLADE, **splade_fields(trunk), **arguments}
