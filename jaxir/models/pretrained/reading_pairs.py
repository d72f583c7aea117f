"""Cross-encoders: published ones (models of sequence classification with one label), and of any backbone."""

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
from jaxir.models.pretrained import families, modules, sparse_modules, weights
from jaxir.models.pretrained.assembling import (
    CROSS,
    SPLADE,
    Pretrained,
    Source,
    assemble,
    check_vocabulary,
    config_of,
    open_tokenizer,
    with_ids,
)
from jaxir.models.pretrained.backbone import open_backbone
from jaxir.models.pretrained.names import Tensor, under
from jaxir.trees import named

BI_ENCODERS = ("pooling", "projection", "normalize", "towers", "sparse")


def is_cross_encoder(folder: pathlib.Path) -> bool:
    """Whether the folder holds a model of sequence classification."""
    path = folder / "config.json"
    names = read_json(path).get("architectures") if path.is_file() else None
    return any(str(name).endswith("ForSequenceClassification") for name in names or ())


def read_cross_encoder(
    folder: pathlib.Path,
    arguments: Mapping[str, Any] | None,
    changes: Mapping[str, Any],
    dtype: Any,
    shardings: weights.Shardings | None,
    *,
    ignore: tuple[str, ...],
) -> Pretrained:
    """The cross-encoder of a folder: its head if it has one, else a new one on its trunk.

    Args:
      arguments: of :func:`jaxir.models.cross_encoder.cross_encoder` that differ; and ``token``, a word of
        the vocabulary of a decoder, with which the score is its logit at the last token, or with ``against``,
        another word, the difference of their logits. None = as the folder says.
      changes: arguments of the trunk that differ.

    Raises:
      InputError: a head of several labels (unless ``arguments`` ask for a new one), tensors that do not fit,
        a token that the vocabulary does not have.
    """
    check_changes(changes)
    published = is_cross_encoder(folder)
    described = _published(folder) if published else _backbone(folder)
    if described.static is not None:
        raise InputError(f"{folder} is a static encoder, without a trunk for a cross-encoder")
    trunk_folder, backbone = described.trunk, open_backbone(described.trunk)
    family, hf, opened = backbone.family, backbone.hf, backbone.opened
    if not hasattr(family, "classifier"):
        raise InputError(f"jaxir has no cross-encoder of the architecture {hf['model_type']}")
    given = dict(arguments or {})
    words = [given.pop(name, None) for name in ("token", "against")]
    spec = {"fn": CROSS, **backbone.fields, **family.classifier(hf), **given, **changes}
    config = backbone.config_of(spec)
    tokenizer = open_tokenizer(trunk_folder, described.lowercase)
    check_vocabulary(trunk_folder, tokenizer, config.vocab_size)
    if published and _without_types(trunk_folder):
        spec.setdefault("sep_id", -1)
    spec = with_ids(spec, tokenizer)
    of_head = family.classifier_names(config)
    has_head = published and words[0] is None and _has_one_label(folder, of_head, opened, hf, arguments)

    encoder = build(spec, allow=TRUSTED)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    flat = named(shapes)
    table = under("trunk", family.names(config))
    # The pooler of a BERT belongs to its pre-training, and is there where the head is not.
    pooler = {path: t for path, t in of_head.items() if t.name.startswith("pooler.")}
    stored = {path: t for path, t in pooler.items() if t.name in opened.files}
    table |= of_head if has_head else stored
    table = {path: tensor for path, tensor in table.items() if path in flat}
    backbone.check(table, flat, known=(t.name for t in of_head.values()), ignore=ignore)
    sources: dict[str, Source] = {path: (opened, tensor) for path, tensor in table.items()}
    if words[0] is not None:
        sources["head/kernel"] = _of_words(words, spec, family, hf, opened, tokenizer, folder)
    params = assemble(shapes, sources, encoder, dtype, shardings)
    limits = [n for n in (described.max_length, encoder.max_length) if n is not None]
    return Pretrained(
        spec,
        params,
        tokenizer,
        described.prompts,
        min(limits, default=None),
        folder,
        fingerprint(spec, words, tokenizer.fingerprint, weights.fingerprint(opened)),
    )


def check_changes(changes: Mapping[str, Any]) -> None:
    """Raises for an argument of encoders of single texts."""
    for name in changes:
        if name in BI_ENCODERS:
            raise InputError(
                f"{name} is an argument of encoders of one text, and this one reads pairs: its own go into "
                "cross_encoder=dict(...)"
            )


def cross_encoder_spec(
    spec: Mapping[str, Any], arguments: Mapping[str, Any], path: pathlib.Path
) -> dict[str, Any]:
    """The spec of a cross-encoder on the trunk of jaxir's own encoder, with the head its family has.

    Raises:
      InputError: an encoder without a trunk, or with one for each side.
    """
    if spec["fn"] == CROSS:
        return {**spec, **arguments}
    fields = {k: v for k, v in spec.items() if k in TransformerConfig.__dataclass_fields__}
    if not fields.keys() - {"vocab_size", "dim"} or spec.get("towers", "tied") != "tied":
        raise InputError(
            f"{path} is made by {spec['fn']} with towers={spec.get('towers', 'tied')!r}: a cross-encoder "
            "begins from an encoder with one transformer"
        )
    if spec["fn"] == SPLADE:
        fields["activation"] = spec.get("trunk_activation") or TransformerConfig.activation
    said = families.that_can_say(TransformerConfig(**{"vocab_size": 1, **fields}))
    head: dict[str, Any] = {"pooling": "last"} if fields.get("causal") else {}
    if said is not None and hasattr(said[0], "classifier"):
        head = said[0].classifier(said[1])
    return {"fn": CROSS, **fields, **head, **arguments}


def _published(folder: pathlib.Path) -> modules.Described:
    facts = read_json(folder / modules.FACTS) if (folder / modules.FACTS).is_file() else {}
    names = [name for name, _ in modules.listed(folder)] if (folder / modules.MODULES).is_file() else []
    if names not in ([], ["Transformer"]):
        raise InputError(
            f"{folder} has the modules {', '.join(names)}; of cross-encoders jaxir reads Transformer alone"
        )
    described = modules.Described(
        folder, {}, (), modules.prompts_of(facts), modules.max_length(folder), modules.lowercase(folder)
    )
    if any(described.prompts.values()):
        raise InputError(f"{folder} is a cross-encoder with prompts, which jaxir does not know how to place")
    return described


def _backbone(folder: pathlib.Path) -> modules.Described:
    said = sparse_modules.find(folder)
    return modules.describe(folder) if said is None else said.described


def _without_types(folder: pathlib.Path) -> bool:
    """Whether the folder's tokenizer keeps the types of a pair's tokens from the model."""
    path = folder / "tokenizer_config.json"
    names = read_json(path).get("model_input_names") if path.is_file() else None
    return names is not None and "token_type_ids" not in names


def _has_one_label(
    folder: pathlib.Path,
    of_head: Mapping[str, Tensor],
    opened: weights.Weights,
    hf: Mapping[str, Any],
    arguments: Mapping[str, Any] | None,
) -> bool:
    name = of_head["head/kernel"].name
    if name not in opened.files:
        return True  # a tensor is missing, and the check of all of them says so
    labels = opened.shape(name)[0]
    if labels == 1:
        return True
    if arguments is None:
        names = ", ".join(map(str, (hf.get("id2label") or {}).values()))
        raise InputError(
            f"{folder} is a classifier of {labels} labels{f' ({names})' if names else ''}, and a "
            "cross-encoder has one score for a pair: take a model with one label, or train a new head, with "
            "cross_encoder={} (in a config init_with.cross_encoder)"
        )
    return False


def _of_words(
    words: list[str | None],
    spec: Mapping[str, Any],
    family: ModuleType,
    hf: Mapping[str, Any],
    opened: weights.Weights,
    tokenizer: Any,
    folder: pathlib.Path,
) -> np.ndarray:
    """The kernel [d, 1] whose product with a state is a word's logit, or the difference of two."""
    head = family.mlm(hf) if hasattr(family, "mlm") else None
    if head is None or head.get("transform", True) or spec.get("pooler") or spec.get("head_bias", True):
        raise InputError(
            f"{folder}: token={words[0]!r} is for decoders, whose head over the vocabulary is one matrix"
        )
    if head.get("softcap") and words[1] is not None:
        raise InputError(
            f"{folder} caps its logits, and their difference is then no linear map: leave against out"
        )
    table = family.names(config_of(spec))["token_embedding/embedding"].name
    own = [t.name for t in family.mlm_names(config_of(spec)).values()]
    matrix = own[0] if own and own[0] in opened.files and not head.get("tied", True) else table

    def row(word: str) -> np.ndarray:
        ids = tokenizer.encode_plain([word])[0]
        entry = tokenizer.backend.token_to_id(word)  # as the vocabulary spells it
        if len(ids) != 1 and entry is not None:
            ids = [entry]
        if len(ids) != 1:
            raise InputError(
                f"token {word!r} is {len(ids)} tokens of the vocabulary of {folder}, expected one (with a "
                "space before it, a word is another token)"
            )
        index = (slice(int(ids[0]), int(ids[0]) + 1), slice(None))
        return np.asarray(opened.read(matrix, index), np.float32)

    kernel = row(words[0] or "")
    return (kernel if words[1] is None else kernel - row(words[1])).T
