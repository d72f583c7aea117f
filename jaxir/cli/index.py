"""jaxir index: builds an exact or a ScaNN index from vectors.

  jaxir index --vectors=runs/squad/vectors --kind=exact --out=runs/squad/index
  jaxir index --vectors=runs/squad/vectors --kind=scann --queries=runs/squad/dev --out=runs/squad/scann

ScaNN searches by brute force under 10,000 documents. Above, it has about sqrt(n) leaves and searches as
few of them as reach --target_recall, measured while building on --queries, or on a sample of the
documents.
"""

from __future__ import annotations

from absl import flags

from jaxir.checks import InputError

SCANN = (
    *("force_tree", "leaves", "leaves_to_search", "reorder", "dims_per_block", "anisotropic_threshold"),
    *("soar", "training_sample", "threads", "queries", "target_recall"),
)


def define(values: flags.FlagValues) -> None:
    def integer(name: str, text: str) -> None:
        flags.DEFINE_integer(name, None, f"scann: {text}", flag_values=values)

    def number(name: str, text: str) -> None:
        flags.DEFINE_float(name, None, f"scann: {text}", flag_values=values)

    flags.DEFINE_string("vectors", None, "what jaxir encode wrote", flag_values=values)
    flags.DEFINE_string("out", None, "index directory to write", flag_values=values)
    flags.DEFINE_enum("kind", "exact", ["exact", "scann"], "of index", flag_values=values)
    flags.DEFINE_enum(
        "metric", "dot", ["dot", "cosine"], "cosine normalises documents and queries", flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "replace what stands at --out", flag_values=values)
    flags.DEFINE_bool("force_tree", None, "scann: a tree also under 10,000 documents", flag_values=values)
    integer("leaves", "partitions (default: sqrt of the documents)")
    integer("leaves_to_search", "partitions per query (default: measured)")
    integer("reorder", "candidates scored exactly, as a multiple of k (default: 4 to 16, measured)")
    integer("dims_per_block", "dimensions per hash code (default: 2)")
    number("anisotropic_threshold", "of the quantisation (default: 0.2)")
    number("soar", "each document in a second partition, with this lambda, e.g. 1.5 (default: off)")
    integer("training_sample", "documents to train on (default: 100000)")
    integer("threads", "for training (default: the library's choice)")
    flags.DEFINE_string(
        "queries", None, "scann: vectors of typical queries, to measure recall on", flag_values=values
    )
    number("target_recall", "recall@100 to reach (default: 0.97 on queries, 0.98 on documents)")


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir index takes flags only, not {positional[0]!r}")
    if not values.vectors or not values.out:
        raise InputError("jaxir index needs --vectors and --out (jaxir index --help has an example)")
    from jaxir.retrieval import index

    options = {name: values[name].value for name in SCANN if values[name].value is not None}
    index.build(
        values.vectors,
        values.out,
        kind=values.kind,
        metric=values.metric,
        overwrite=values.overwrite,
        **options,
    )
    print(f"written to {values.out}: {index.describe(values.out)}")
