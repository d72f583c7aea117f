"""jaxir prepare: reads a collection once, checks it and writes it as a data set (TFDS array_record).

  jaxir prepare --source=beir:path/to/scifact --out=data/scifact
  jaxir prepare --source=pydocs --out=data/pydocs

With --idf it also counts in how many documents each token of a vocabulary occurs, and writes the table of
IDF weights that inference-free sparse queries start from; of a data set that is prepared already, only that:

  jaxir prepare --source=data/scifact --idf --tokenizer=sentence-transformers/all-MiniLM-L6-v2

A source is pydocs (docstrings of the installed packages), beir:DIR (corpus.jsonl, queries.jsonl,
qrels/*.tsv, plain or .gz), ir_datasets:NAME (needs the extra ir-datasets), tfds:DIR, or a function of
your own as package.module:function@argument.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from jaxir.checks import InputError


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("source", None, "what to read, e.g. beir:DIR", flag_values=values)
    flags.DEFINE_string("out", None, "directory to write", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace what stands at --out", flag_values=values)
    flags.DEFINE_enum(
        "missing",
        "error",
        ["error", "drop"],
        "judgements that name an unknown query or document: refuse them, or leave them out",
        flag_values=values,
    )
    flags.DEFINE_bool("idf", False, "write a table of IDF weights too; needs --tokenizer", flag_values=values)
    flags.DEFINE_string(
        "tokenizer",
        None,
        "for --idf: tokenizer.json, work directory, folder of published weights or Hub name",
        flag_values=values,
    )
    flags.DEFINE_string(
        "idf_out", None, "file for the table (default: idf.json in the data set)", flag_values=values
    )
    flags.DEFINE_enum(
        "doc_text",
        "text",
        ["text", "title+text"],
        "for --idf: what of a document is counted",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_length",
        None,
        "for --idf: tokens after which documents are cut (default: not)",
        flag_values=values,
        lower_bound=1,
    )


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir prepare takes flags only, not {positional[0]!r}")
    if values.idf != bool(values.tokenizer):
        raise InputError("--idf and --tokenizer=FILE_OR_MODEL go together: words are counted by tokens")
    if values.idf_out and not values.idf:
        raise InputError("--idf_out is where --idf writes; add --idf and --tokenizer")
    from jaxir.data import prepared as store
    from jaxir.data.prepare import check_out, prepare
    from jaxir.data.sources import open_source
    from jaxir.files import MANIFEST

    tokenizer = None
    if values.idf:  # before anything slow
        from jaxir.models.pretrained.tokenizer import read_tokenizer

        tokenizer = read_tokenizer(values.tokenizer)
    ready = pathlib.Path(values.source or "") / MANIFEST
    if tokenizer is not None and values.source and not values.out and ready.is_file():
        _write_idf(values, tokenizer, store.load(values.source))
        return
    if not values.source or not values.out:
        raise InputError("jaxir prepare needs --source and --out (jaxir prepare --help has an example)")
    check_out(values.out, values.overwrite)  # before anything slow
    prepared = prepare(
        open_source(values.source), values.out, overwrite=values.overwrite, missing=values.missing
    )
    print(_table(prepared.name, prepared.counts))
    print(f"written to {values.out}\n")
    if tokenizer is not None:
        _write_idf(values, tokenizer, prepared)
        return
    print(f"next: jaxir train --config=dense --config.data.source={values.out} --workdir=DIR")


def _write_idf(values: flags.FlagValues, tokenizer: Any, prepared: Any) -> None:
    import numpy as np

    from jaxir.data import vocabulary

    table = vocabulary.idf(
        prepared.docs, tokenizer, max_length=values.max_length, doc_text=values.doc_text, progress=True
    )
    out = values.idf_out or prepared.path / "idf.json"
    vocabulary.save_idf(out, table, tokenizer, documents=len(prepared.docs))
    words = [tokenizer.backend.id_to_token(int(n)) for n in np.argsort(table, kind="stable")]
    common = [w for w in words if table[tokenizer.backend.token_to_id(w)] > 0][:8]
    print(f"idf of {np.count_nonzero(table):,} tokens in {len(prepared.docs):,} documents: {out}")
    print(f"lowest: {' '.join(common)}")


def _table(name: str, counts: dict[str, Any]) -> str:
    rows = [(f"{name}: documents", counts["docs"]), ("of them without text", counts["empty_docs"])]
    for split in {**counts["queries"], **counts["qrels"]}:
        rows.append((f"{split}: queries", counts["queries"].get(split, 0)))
        rows.append((f"{split}: judgements", counts["qrels"].get(split, 0)))
    rows.append(("judgements left out", counts["dropped_qrels"]))
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}} {n:>12,}" for label, n in rows)
