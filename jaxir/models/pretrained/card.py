"""The model card: what an exported folder's README.md says."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jaxir

Figures = Sequence[tuple[str, Mapping[str, Mapping[str, float]]]]
"""(where it was measured, {run: {measure: mean}}) for each report."""

USE = {
    "sentence-transformers": """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/of/this/folder")
queries = model.encode_query(["who wrote the first compiler?"])
documents = model.encode_document(["Grace Hopper wrote the A-0 system in 1952."])
print(model.similarity(queries, documents))
```""",
    "SparseEncoder": """```python
from sentence_transformers import SparseEncoder

model = SparseEncoder("path/of/this/folder")
queries = model.encode_query(["who wrote the first compiler?"])
documents = model.encode_document(["Grace Hopper wrote the A-0 system in 1952."])
print(model.similarity(queries, documents))
print(model.decode(documents, top_k=10))  # the words that weigh most
```""",
    "CrossEncoder": """```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/of/this/folder")
query = "who wrote the first compiler?"
documents = ["Grace Hopper wrote the A-0 system in 1952.", "A compiler is a program."]
print(model.predict([(query, document) for document in documents]))
```""",
    "jaxir": """```python
from jaxir.models import pretrained

encoder, params, tokenizer = pretrained.load("path/of/this/folder")
```""",
}

WHAT = {"sparse": "A learned sparse text encoder", "scores": "A cross-encoder"}
CLASSES = {"sparse": "SparseEncoder", "scores": "CrossEncoder"}
TASKS = {"sparse": "feature-extraction", "scores": "text-ranking"}
QUERIES = {
    "bag": "1 for each of their words, without a model",
    "table": "a weight for each of their words from a table, without a model",
}


def model_card(
    name: str,
    *,
    to: str,
    config: Mapping[str, Any],
    step: int,
    sources: Sequence[str] = (),
    figures: Figures = (),
    dim: int,
    max_length: int | None,
    prompts: Mapping[str, str],
    normalized: bool,
    kind: str = "dense",
    encoder: Mapping[str, Any] | None = None,
    size: str | None = None,
    trained_at: str | None = None,
) -> str:
    """README.md of an exported model, in the hub's form: facts first, then how it was made.

    Args:
      config: the training config, or {} for a model that was not trained here.
      sources: the training data, one line each.
      figures: what was measured with this model; nothing is claimed that is not in there.
      kind: of the representation, as :class:`jaxir.types.Encoder` has it.
      encoder: its spec, of which a sparse encoder's card says how queries are made.
      size: of a model that was cut: how much it is of the whole one.
      trained_at: the sizes that one training gave, if there were several.
    """
    cut = "documents" if kind == "scores" else "texts"
    library = "sentence-transformers" if to == "sentence-transformers" else "jaxir"
    facts = {
        **({"size": f"{size} of the model that was trained"} if size else {}),
        **({"trained at": trained_at} if trained_at else {}),
        **_output(kind, dim, normalized, encoder or {}),
        **({} if kind == "scores" else {"similarity": "cosine" if normalized else "dot product"}),
        "longest input": "any" if max_length is None else f"{max_length} tokens; longer {cut} are cut",
        "put before queries": repr(prompts.get("query", "")),
        "put before documents": repr(prompts.get("doc", "")),
    }
    base = config.get("init_from")
    if base:
        facts["started from"] = str(base)
    what = WHAT.get(kind, "A text encoder")
    parts = [
        _front(library, base, kind),
        f"# {name}\n\n{what} for retrieval, written by jaxir {jaxir.__version__}.",
        _table(("fact", "value"), list(facts.items())),
        f"## Use\n\n{USE[to if library == 'jaxir' else CLASSES.get(kind, to)]}",
    ]
    if sources:
        lines = "\n".join(f"- {source}" for source in sources)
        parts.append(f"## Training data\n\n{lines}")
    for where, runs in figures:
        parts.append(f"## Measured: {where}\n\n{_measures(runs)}")
    if config:
        shown = json.dumps(config, indent=2, ensure_ascii=False)
        parts.append(f"## Training\n\n{step} optimiser steps with this config:\n\n```json\n{shown}\n```")
    return "\n\n".join(parts) + "\n"


def _output(kind: str, dim: int, normalized: bool, encoder: Mapping[str, Any]) -> dict[str, str]:
    if kind == "scores":
        return {"output": "one number for a query and a document read together, higher for better matches"}
    if kind != "sparse":
        return {"output": f"one vector of {dim} dimensions" + (", of length 1" if normalized else "")}
    facts = {"output": f"a weight of 0 or more for each of {dim} entries of the vocabulary"}
    query, kept = encoder.get("query", "encoder"), encoder.get("top_k")
    if query in QUERIES:
        facts["queries"] = QUERIES[query]
    if kept is not None:
        numbers = kept if isinstance(kept, Mapping) else {"text": kept}
        said = (f"{n} per {side}" for side, n in numbers.items() if n is not None)
        facts["weights kept"] = "at most " + ", ".join(said)
    return facts


def _front(library: str, base: str | None, kind: str) -> str:
    task = TASKS.get(kind, "sentence-similarity")
    lines = ["---", f"library_name: {library}", f"pipeline_tag: {task}", "tags:", "- jaxir"]
    if kind == "sparse":
        lines += ["- sparse-encoder", "- sparse", "- feature-extraction"]
    elif kind == "scores":
        lines += ["- cross-encoder", "- text-ranking"]
    else:
        lines += ["- sentence-similarity", "- feature-extraction"]
    lines += ["- sentence-transformers"] if library == "sentence-transformers" else []
    if base and not pathlib.Path(base).expanduser().exists() and base.count("/") == 1:  # a name of the hub
        lines.append(f"base_model: {base}")
    return "\n".join([*lines, "---"])


def _measures(runs: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(measure for values in runs.values() for measure in values))
    rows = [
        (run, *(f"{values[m]:.4f}" if m in values else "" for m in names)) for run, values in runs.items()
    ]
    return _table(("run", *names), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
