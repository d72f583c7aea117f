"""Published weights -> an encoder, its parameters and its tokenizer."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxir.checks import InputError, check_known
from jaxir.config import TRUSTED, build
from jaxir.files import PathLike, fingerprint, read_json
from jaxir.models.config import DTYPES, TransformerConfig
from jaxir.models.mlm import MlmHead
from jaxir.models.pretrained import hub, modules, sparse_modules, weights
from jaxir.models.pretrained.assembling import (
    CROSS,
    OWN,
    SPLADE,
    STATIC,
    TRANSFORMER,
    Pretrained,
    assemble,
    check_vocabulary,
    open_tokenizer,
    with_ids,
)
from jaxir.models.pretrained.backbone import open_backbone
from jaxir.models.pretrained.names import Tensor, under
from jaxir.models.pretrained.reading_pairs import check_changes as check_pair_changes
from jaxir.models.pretrained.reading_pairs import cross_encoder_spec, is_cross_encoder, read_cross_encoder
from jaxir.models.pretrained.reading_sparse import check_changes, read_sparse, sparse_spec
from jaxir.models.sparse import WEIGHTS
from jaxir.models.towers import SIDES, linear_maps
from jaxir.trees import named
from jaxir.types import Encoder, Params

# Encoder arguments that may differ from the folder's: they change no tensor, or say which are read.
CHANGES = (
    *("pooling", "projection", "normalize", "towers"),
    *("layers", "causal", "windows", "dropout", "dtype", "remat", "scan", "attention"),
    *("sparse", "cross_encoder"),
)


def load(
    path_or_name: PathLike,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    **options: Any,
) -> tuple[Encoder, Params, Any]:
    """``(encoder, params, tokenizer)`` of published weights.

    Args:
      path_or_name: a folder, or a name of the Hugging Face Hub, which is downloaded once. What is read:
        sentence-transformers folders, dense, SparseEncoder and CrossEncoder ones, as they are meant to run;
        bare backbones (mean pooling, the last token for causal ones, normalised, unless said otherwise); and
        ``jaxir export``'s own format.
      revision: branch, tag or commit of the hub.
      dtype: "float32" or "bfloat16", of the computation and of the weights in memory.
      **options: of :func:`read`; among them encoder arguments that differ from the folder's, such as
        ``pooling="cls"``, ``normalize=False``, ``causal=False``, ``layers=4``.

    Raises:
      InputError: see :func:`read`.
    """
    found = read(path_or_name, revision=revision, dtype=dtype, **options)
    return build(found.spec, allow=TRUSTED), found.params, found.tokenizer


def read(
    path_or_name: PathLike,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    param_dtype: str | None = None,
    shardings: weights.Shardings | None = None,
    ignore: Iterable[str] = (),
    mlm: bool = False,
    **changes: Any,
) -> Pretrained:
    """:func:`load` with all that the folder says, and with control over where the weights go.

    Args:
      dtype: of the computation; it becomes part of the spec.
      param_dtype: of the weights in memory; None = ``dtype``. Training in bfloat16 wants float32 here.
      shardings: a pytree of shapes -> a pytree of shardings. Each device's part of each tensor is read
        straight from the file: no more than one tensor is in host memory beside the result.
      ignore: regexes of tensors in the file that may be left aside (heads that are not wanted).
      mlm: also read the head over the vocabulary, as params["mlm"]; ``head`` has its arguments.
      **changes: encoder arguments that differ from the folder's, of ``CHANGES``; ``layers=n`` keeps the
        first n blocks; a ``projection`` that the folder does not have starts at random.
        ``sparse=dict(...)``, arguments of :func:`jaxir.models.sparse.splade`, makes a sparse encoder of any
        backbone, or changes one: ``sparse=dict()`` is SPLADE on the folder's masked language model,
        ``sparse=dict(head=dict(transform=False))`` on its token embeddings where it has no head.
        ``cross_encoder=dict(...)``, arguments of :func:`jaxir.models.cross_encoder.cross_encoder`, makes one
        of any backbone, whose head starts at random; or, of a decoder, with ``token="yes", against="no"`` at
        the difference of these words' logits.

    Raises:
      InputError: no such model, an unknown architecture or module, only pickled weights, a damaged
        file, tensors that do not fit the config (lists them), no tokenizer.json.
    """
    for name in changes:
        check_known("change to a pretrained encoder", name, CHANGES)
    check_known("dtype", dtype, DTYPES)
    changes = {"dtype": dtype, **changes}
    store = jnp.dtype(param_dtype or dtype)
    folder = hub.find(path_or_name, revision=revision)
    if not (folder / "config.json").is_file() and not (folder / modules.MODULES).is_file():
        raise InputError(f"{folder} is no model: it has neither config.json nor {modules.MODULES}")
    if (folder / "checkpoints").is_dir():
        raise InputError(
            f"{folder} is a work directory of jaxir train: jaxir.training.checkpoint.load_model reads it, "
            "and jaxir export makes a model folder of it"
        )
    arguments, pairs = changes.pop("sparse", None), changes.pop("cross_encoder", None)
    if pairs is not None and arguments is not None:
        raise InputError("sparse and cross_encoder make two different encoders of a folder: give one")
    if _is_own(folder):
        return _read_own(folder, changes, arguments, pairs, store, shardings)
    # Who leaves a head aside by name wants the trunk alone.
    if pairs is not None or (is_cross_encoder(folder) and not ignore and arguments is None):
        return read_cross_encoder(folder, pairs, changes, store, shardings, ignore=tuple(ignore))
    said = sparse_modules.find(folder)
    described = modules.describe(folder) if said is None else said.described
    if said is not None or arguments is not None:
        if described.static is not None:
            raise InputError(f"{folder} is a static encoder, without a trunk for a sparse one")
        return read_sparse(described, said, arguments or {}, changes, store, shardings, ignore=tuple(ignore))
    if described.static is not None:
        return _read_static(described, changes, store, shardings)
    return _read_transformer(described, changes, store, shardings, ignore=tuple(ignore), mlm=mlm)


def _is_own(folder: pathlib.Path) -> bool:
    return (folder / "config.json").is_file() and OWN in read_json(folder / "config.json")


def _read_transformer(
    described: modules.Described,
    changes: Mapping[str, Any],
    dtype: Any,
    shardings: weights.Shardings | None,
    *,
    ignore: tuple[str, ...],
    mlm: bool,
) -> Pretrained:
    folder, backbone = described.trunk, open_backbone(described.trunk)
    family, hf, opened = backbone.family, backbone.hf, backbone.opened
    head = described.head or {"pooling": "last" if backbone.whole.causal else "mean", "normalize": True}
    spec = {"fn": TRANSFORMER, **backbone.fields, **head, **changes}
    config = backbone.config_of(spec)
    encoder = build(spec, allow=TRUSTED)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    table = under("trunk", family.names(config))
    mlm_arguments = None
    if mlm:
        if not hasattr(family, "mlm"):
            raise InputError(f"the architecture {hf['model_type']} has no head over its vocabulary")
        mlm_arguments = family.mlm(hf)
        table |= under("mlm", family.mlm_names(config))
        shapes = {**shapes, "mlm": _mlm_shapes(config, mlm_arguments)}
    if spec.get("towers", "tied") == "separate":
        if mlm:
            raise InputError("mlm=True reads one trunk: leave towers='tied'")
        table = {f"{side}/{path}": tensor for side in SIDES for path, tensor in table.items()}

    flat = named(shapes)
    table = {path: tensor for path, tensor in table.items() if path in flat}
    backbone.check(table, flat, ignore=ignore)
    sources = {path: (opened, tensor) for path, tensor in table.items()}
    if "projection" not in changes:
        sources |= _dense_sources(described, flat, head)
    params = assemble(shapes, sources, encoder, dtype, shardings)
    tokenizer = open_tokenizer(folder, described.lowercase)
    check_vocabulary(folder, tokenizer, config.vocab_size)
    limits = [n for n in (described.max_length, encoder.max_length) if n is not None]
    return Pretrained(
        spec,
        params,
        tokenizer,
        described.prompts,
        min(limits, default=None),
        folder,
        fingerprint(spec, tokenizer.fingerprint, weights.fingerprint(opened)),
        mlm_arguments,
    )


def _mlm_shapes(config: TransformerConfig, arguments: Mapping[str, Any]) -> Any:
    head = MlmHead(config, **arguments)
    hidden = jax.ShapeDtypeStruct((1, config.dim), jnp.float32)
    table = jax.ShapeDtypeStruct((config.vocab_size, config.dim), jnp.float32)
    return jax.eval_shape(head.init, jax.random.key(0), hidden, table).get("params", {})


def _dense_sources(described: modules.Described, flat: Mapping[str, Any], head: Mapping[str, Any]) -> dict:
    """Where the maps after pooling come from: each Dense module has a file of its own."""
    sources = {}
    for one, folder in zip(linear_maps(head.get("projection")), described.dense):
        opened = weights.open_folder(folder)
        table = modules.dense_table(one.name, one.bias)
        weights.check(opened, table, flat, known=(), ignore=())
        sources |= {
            path: (opened, table[path.removeprefix(f"{side}/")])
            for side in ("", *SIDES)
            for path in flat
            if path.removeprefix(f"{side}/") in table
        }
    return sources


def _read_static(
    described: modules.Described, changes: Mapping[str, Any], dtype: Any, shardings: Any
) -> Pretrained:
    folder = described.static
    opened = weights.open_folder(folder, renames=((r"^embeddings$", "embedding.weight"),))
    table = {"embedding": Tensor("embedding.weight")}
    if "embedding.weight" not in opened.files:
        raise InputError(f"{folder} has no tensor embedding.weight: it is no StaticEmbedding module")
    rows, dim = opened.shape("embedding.weight")
    changes = {k: v for k, v in changes.items() if k not in ("dtype", "remat", "scan", "attention")}
    spec = {"fn": STATIC, "vocab_size": rows, "dim": dim, "token_weights": False, **described.head, **changes}
    encoder = build(spec, allow=TRUSTED)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    flat = named(shapes)
    if spec.get("towers", "tied") == "separate":
        table = {f"{side}/embedding": tensor for side in SIDES for tensor in table.values()}
    weights.check(opened, table, flat, known=(), ignore=())
    params = assemble(shapes, {p: (opened, t) for p, t in table.items()}, encoder, dtype, shardings)
    tokenizer = open_tokenizer(folder, False, special=False)
    name = fingerprint(spec, tokenizer.fingerprint, weights.fingerprint(opened))
    return Pretrained(spec, params, tokenizer, described.prompts, described.max_length, folder, name)


def _read_own(
    folder: pathlib.Path,
    changes: Mapping[str, Any],
    sparse: Mapping[str, Any] | None,
    pairs: Mapping[str, Any] | None,
    dtype: Any,
    shardings: Any,
) -> Pretrained:
    facts = read_json(folder / "config.json")[OWN]
    spec = dict(facts["encoder"])
    unwanted = [r"(^|/)layers_\d+/"] if "layers" in changes else []
    if sparse is not None:
        spec = with_ids(sparse_spec(spec, sparse, folder), open_tokenizer(folder, False))
        unwanted += [r"(^|/)projection\w*/", r"(^|/)mlm/", rf"^{WEIGHTS}$"]
    if pairs is not None:
        unwanted += [] if spec["fn"] == CROSS else [r"^(?!trunk/)"]
        spec = with_ids(cross_encoder_spec(spec, pairs, folder), open_tokenizer(folder, False))
    if spec["fn"] == CROSS:
        check_pair_changes(changes)
    elif spec["fn"] == SPLADE:
        check_changes(changes)
    elif spec["fn"] != TRANSFORMER:
        changes = {k: v for k, v in changes.items() if k in ("projection", "normalize")}
    spec |= changes
    encoder = build(spec, allow=TRUSTED)
    opened = weights.open_folder(folder)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    table = {path: Tensor(path) for path in named(shapes)}
    if "projection" in changes:
        table = {path: tensor for path, tensor in table.items() if "projection" not in path}
        unwanted.append(r"(^|/)projection\w*/")
    if sparse is not None:  # what the folder does not have starts afresh
        new = lambda path: path == WEIGHTS or re.search(r"(^|/)mlm/", path)
        table = {path: t for path, t in table.items() if path in opened.files or not new(path)}
    if pairs is not None:
        table = {path: t for path, t in table.items() if path in opened.files or path.startswith("trunk/")}
    weights.check(opened, table, named(shapes), known=(), ignore=unwanted)
    params = assemble(shapes, {p: (opened, t) for p, t in table.items()}, encoder, dtype, shardings)
    tokenizer = open_tokenizer(folder, False)
    name = fingerprint(spec, tokenizer.fingerprint, weights.fingerprint(opened))
    prompts = {"query": "", "doc": "", **facts.get("prompts", {})}
    return Pretrained(spec, params, tokenizer, prompts, facts.get("max_length"), folder, name)
