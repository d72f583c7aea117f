"""jaxir encode: encodes a collection's documents (or queries) to vectors on disk.

  jaxir encode --workdir=runs/squad --source=beir:data/scifact --out=runs/squad/vectors
  jaxir encode --workdir=runs/squad --source=data/scifact --side=query --split=dev --out=runs/squad/dev
  jaxir encode --model=sentence-transformers/all-MiniLM-L6-v2 --workdir=runs/minilm --source=data/scifact \\
    --out=runs/minilm/vectors

The vectors of a sparse encoder are kept sparse. Of a hybrid encoder each part is encoded by itself
(--part=dense, --part=sparse).

A smaller size of the encoder, fewer layers, fewer dimensions (of a sparse encoder: active terms), or both.
Layers beyond are not computed. The vectors name their size, and jaxir search encodes its queries at it:

  jaxir encode --workdir=runs/starbucks --layers=2 --dims=64 --source=data/scifact --out=runs/starbucks/small

Stopped or killed and started again with the same flags, it goes on after the last finished shard.

All devices of the machine encode. On several machines with a common disk, start it on each:

  jaxir encode --distributed=auto --workdir=... --source=... --out=...
"""

from __future__ import annotations

import pathlib

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import (
    define_model,
    define_processes,
    define_sizes,
    local_mesh,
    open_model,
    size_flag,
    start_processes,
)


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "work directory of jaxir train; with --model any directory", flag_values=values
    )
    define_model(values)
    flags.DEFINE_string(
        "source", None, "collection, as in jaxir prepare, or what that wrote", flag_values=values
    )
    flags.DEFINE_string("out", None, "vectors directory to write", flag_values=values)
    flags.DEFINE_enum("side", "doc", ["doc", "query"], "documents or queries", flag_values=values)
    flags.DEFINE_string("split", None, "whose queries, with --side=query", flag_values=values)
    flags.DEFINE_enum("part", None, ["dense", "sparse"], "of a hybrid encoder", flag_values=values)
    define_sizes(values)
    flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "of the stored vectors", flag_values=values)
    flags.DEFINE_integer(
        "shard_docs",
        None,
        "texts per shard: more are read ahead and sorted (default: 16384, of a sparse encoder 4096)",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "tokens_per_batch",
        None,
        "rows times length of a batch (default: what suits the machine and the encoder)",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_bool("overwrite", False, "replace what stands at --out", flag_values=values)
    define_processes(values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir encode takes flags only, not {positional[0]!r}")
    if not values.workdir or not values.source or not values.out:
        raise InputError(
            "jaxir encode needs --workdir, --source and --out (jaxir encode --help has an example)"
        )
    layers, dims = size_flag(values, "layers"), size_flag(values, "dims")
    start_processes(values)

    from jaxir import processes
    from jaxir.data.prepare import prepare_spec
    from jaxir.retrieval.model import cut_model, encode_prepared

    model = open_model(values)
    model = cut_model(model, layers=layers, dims=dims)
    with processes.first_then_others("prepare"):
        prepared = prepare_spec(values.source, pathlib.Path(values.workdir) / "data")
    encode_prepared(
        model,
        prepared,
        values.out,
        side=values.side,
        split=values.split,
        part=values.part,
        model_path=model.path,
        mesh=local_mesh(),
        dtype=values.dtype,
        shard_docs=values.shard_docs,
        tokens_per_batch=values.tokens_per_batch,
        overwrite=values.overwrite,
    )
    if not processes.is_first():
        return
    print(f"written to {values.out}")
    if values.side == "doc":
        index = pathlib.Path(values.workdir) / "index"
        print(f"next: jaxir index --vectors={values.out} --out={index}")
