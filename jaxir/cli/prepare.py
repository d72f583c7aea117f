"""jaxir prepare: reads a collection once, checks it and writes it as a data set (TFDS array_record).

  jaxir prepare --source=beir:path/to/scifact --out=data/scifact
  jaxir prepare --source=pydocs --out=data/pydocs

A source is pydocs (docstrings of the installed packages), beir:DIR (corpus.jsonl, queries.jsonl,
qrels/*.tsv, plain or .gz), ir_datasets:NAME (needs the extra ir-datasets), tfds:DIR, or a function of
your own as package.module:function@argument.
"""

from __future__ import annotations

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


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir prepare takes flags only, not {positional[0]!r}")
    if not values.source or not values.out:
        raise InputError("jaxir prepare needs --source and --out (jaxir prepare --help has an example)")
    from jaxir.data.prepare import check_out, prepare
    from jaxir.data.sources import open_source

    check_out(values.out, values.overwrite)  # before anything slow
    prepared = prepare(
        open_source(values.source), values.out, overwrite=values.overwrite, missing=values.missing
    )
    print(_table(prepared.name, prepared.counts))
    print(f"written to {values.out}\n")
    print(f"next: jaxir train --config=dense --config.data.source={values.out} --workdir=DIR")


def _table(name: str, counts: dict[str, Any]) -> str:
    rows = [(f"{name}: documents", counts["docs"]), ("of them without text", counts["empty_docs"])]
    for split in {**counts["queries"], **counts["qrels"]}:
        rows.append((f"{split}: queries", counts["queries"].get(split, 0)))
        rows.append((f"{split}: judgements", counts["qrels"].get(split, 0)))
    rows.append(("judgements left out", counts["dropped_qrels"]))
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}} {n:>12,}" for label, n in rows)
