"""A sentence-transformers folder's modules: what happens between the trunk and the vector; and prompts."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxir.checks import InputError
from jaxir.files import read_json
from jaxir.models.pretrained.names import Table, Tensor

MODULES, FACTS = "modules.json", "config_sentence_transformers.json"

# sentence-transformers' name -> ours, in the order in which it concatenates several.
POOLINGS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = {"Tanh": "tanh", "Identity": "identity", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu"}

# What a module makes of a model that this reader cannot build (yet).
NOT_YET = {
    "SparseAutoEncoder": "a sparse autoencoder on a dense model",
    "IDF": "an inference-free sparse model",
    "Router": "a model with different modules for queries and documents",
    "Asym": "a model with different modules for queries and documents",
    "MultiVectorMask": "a late-interaction model",
    "TokenPooling": "a late-interaction model",
    "CLIPModel": "a model of text and images",
}
KINDS = {
    "SparseEncoder": "a learned sparse model",
    "MultiVectorEncoder": "a late-interaction model",
    "ColBERT": "a late-interaction model",
    "CrossEncoder": "a cross-encoder",
}


class Described(NamedTuple):
    """What the folder says beside the trunk."""

    trunk: pathlib.Path  # where config.json, the weights and the tokenizer are
    head: dict[str, Any]  # arguments of the encoder: pooling, projection, normalize
    dense: tuple[pathlib.Path, ...]  # folders of the Dense modules, in order
    prompts: dict[str, str]  # by side
    max_length: int | None
    lowercase: bool  # texts are lower-cased before the tokenizer sees them
    static: pathlib.Path | None = None  # a StaticEmbedding module instead of a trunk


def describe(folder: pathlib.Path) -> Described:
    """Reads modules.json and what it names; a folder without it is a bare trunk.

    Raises:
      InputError: a module that is not supported (yet), by name.
    """
    facts = read_json(folder / FACTS) if (folder / FACTS).is_file() else {}
    kind = facts.get("model_type", "SentenceTransformer")
    if kind in KINDS:
        raise _not_yet(folder, f"{FACTS} says {kind}", KINDS[kind])
    if not (folder / MODULES).is_file():
        if (folder / "artifact.metadata").is_file():
            raise _not_yet(folder, "it has artifact.metadata", "a late-interaction model")
        return Described(folder, {}, (), prompts_of(facts), max_length(folder), False)
    found = listed(folder)
    for name, _ in found:
        if name in NOT_YET:
            raise _not_yet(folder, f"it has the module {name}", NOT_YET[name])
    names = [name for name, _ in found if name != "Dropout"]  # does nothing outside of training
    places = dict(found)
    dense = tuple(path for name, path in found if name == "Dense")
    if names[0] == "StaticEmbedding" and names[1:] in ([], ["Normalize"]):
        head = {"normalize": "Normalize" in names}
        static = places["StaticEmbedding"]
        return Described(static, head, (), prompts_of(facts), None, False, static)
    order = ["Transformer", "Pooling", *["Dense"] * len(dense), *["Normalize"] * ("Normalize" in names)]
    if names != order:
        raise InputError(
            f"{folder} has the modules {', '.join(names)}; jaxir reads Transformer, Pooling, any number of "
            "Dense, then Normalize or not, in this order (and StaticEmbedding)"
        )
    trunk = places["Transformer"]
    head = {
        "pooling": _pooling(places["Pooling"]),
        "projection": tuple(_dense(path) for path in dense) or None,
        "normalize": "Normalize" in names,
    }
    return Described(trunk, head, dense, prompts_of(facts), max_length(trunk), lowercase(trunk))


def listed(folder: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """The class name and the folder of each module, in order."""
    return [(m["type"].rpartition(".")[2], folder / m.get("path", "")) for m in read_json(folder / MODULES)]


def _not_yet(folder: pathlib.Path, sign: str, what: str) -> InputError:
    return InputError(
        f"{folder} is {what} ({sign}), which jaxir cannot load yet; its trunk alone loads from a folder "
        "with config.json, model.safetensors and tokenizer.json only"
    )


def _pooling(folder: pathlib.Path) -> str | tuple[str, ...]:
    config = read_json(folder / "config.json")
    if not config.get("include_prompt", True):
        raise InputError(f"{folder} leaves the prompt out of the pooling, which jaxir does not do")
    modes = (
        config.get("pooling_mode") or [m for key, m in OLD_POOLINGS.items() if config.get(key)] or ["mean"]
    )
    modes = [modes] if isinstance(modes, str) else list(modes)
    unknown = [m for m in modes if m not in POOLINGS]
    if unknown:
        raise InputError(f"{folder} has the pooling {unknown[0]!r}; known: {', '.join(POOLINGS)}")
    ours = tuple(POOLINGS[m] for m in modes)
    return ours[0] if len(ours) == 1 else ours


def _dense(folder: pathlib.Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    name = config.get("activation_function", "torch.nn.modules.activation.Tanh").rpartition(".")[2]
    if name not in ACTIVATIONS or config.get("use_residual"):
        what = "a residual connection" if config.get("use_residual") else f"the activation {name}"
        raise InputError(f"{folder} has {what}; jaxir's Dense has {', '.join(ACTIVATIONS)}, no residual")
    return dict(
        features=config["out_features"], bias=bool(config.get("bias", True)), activation=ACTIVATIONS[name]
    )


def dense_table(path: str, bias: bool) -> Table:
    """The tensors of a Dense module."""
    table = {f"{path}/kernel": Tensor("linear.weight", transpose=True)}
    return table | ({f"{path}/bias": Tensor("linear.bias")} if bias else {})


def prompts_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """The instructions of both sides: the prompts named for one, or the default prompt for both."""
    prompts = facts.get("prompts") or {}
    default = prompts.get(facts.get("default_prompt_name") or "", "") or ""

    def first(*names: str) -> str:
        return next((prompts[name] for name in names if prompts.get(name)), default)

    return {
        "query": first("query", "retrieval-query", "Retrieval-query", "s2p_query"),
        "doc": first("document", "passage", "doc", "corpus", "Retrieval-document"),
    }


def sentence_config(folder: pathlib.Path) -> dict[str, Any]:
    """sentence_bert_config.json, or what stands in its place; {} without one."""
    files = sorted(folder.glob("sentence_*_config.json"))
    return read_json(files[0]) if files else {}


def lowercase(folder: pathlib.Path) -> bool:
    """Whether texts are lower-cased before the tokenizer sees them."""
    return bool(sentence_config(folder).get("do_lower_case", False))


def max_length(folder: pathlib.Path) -> int | None:
    """The longest text in tokens that the folder names."""
    given = sentence_config(folder).get("max_seq_length")
    if given is None and (folder / "tokenizer_config.json").is_file():
        given = read_json(folder / "tokenizer_config.json").get("model_max_length")
    return int(given) if given is not None and given < 1_000_000 else None  # 1e30 stands for none
