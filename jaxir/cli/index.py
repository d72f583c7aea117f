"""jaxir index: builds an index from vectors: exact, ScaNN, or for sparse vectors Seismic or BMP.

  jaxir index --vectors=runs/squad/vectors --kind=exact --out=runs/squad/index
  jaxir index --vectors=runs/squad/vectors --kind=scann --queries=runs/squad/dev --out=runs/squad/scann
  jaxir index --vectors=runs/nested/vectors --kind=exact --dims=64 --rerank=200 --out=runs/nested/funnel
  jaxir index --vectors=runs/splade/vectors --kind=sparse --out=runs/splade/index
  jaxir index --vectors=runs/splade/vectors --kind=seismic --queries=runs/splade/dev --out=runs/splade/seismic

ScaNN searches by brute force under 10,000 documents. Above, it has about sqrt(n) leaves and searches as
few of them as reach --target_recall, measured while building on --queries, or on a sample of the
documents. The recall of Seismic and BMP (extras seismic and bmp) is measured in the same way, with the
options that are given; what they find is scored again exactly.

With --dims the index is a funnel, for vectors of nested (Matryoshka) training: a search of --kind over their
first dimensions proposes --rerank documents, which are ordered by --rerank_dims (default: all) dimensions.
"""

from __future__ import annotations

from absl import flags

from jaxir.checks import InputError

OPTIONS = (
    *("force_tree", "leaves", "leaves_to_search", "reorder", "dims_per_block", "anisotropic_threshold"),
    *("soar", "training_sample", "threads", "queries", "target_recall"),
    *("n_postings", "centroid_fraction", "min_cluster_size", "summary_energy", "max_fraction", "doc_cut"),
    *("dims", "rerank_dims", "rerank"),
    *("neighbours", "query_cut", "heap_factor", "block_size", "compress", "alpha", "beta"),
)


def define(values: flags.FlagValues) -> None:
    def integer(name: str, text: str) -> None:
        flags.DEFINE_integer(name, None, text, flag_values=values)

    def number(name: str, text: str) -> None:
        flags.DEFINE_float(name, None, text, flag_values=values)

    def switch(name: str, text: str) -> None:
        flags.DEFINE_bool(name, None, text, flag_values=values)

    flags.DEFINE_string("vectors", None, "what jaxir encode wrote", flag_values=values)
    flags.DEFINE_string("out", None, "index directory to write", flag_values=values)
    flags.DEFINE_enum(
        "kind",
        None,
        ["exact", "scann", "sparse", "seismic", "bmp"],
        "of index: exact, scann; of sparse vectors sparse (exact), seismic, bmp (default: the exact one)",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "metric", "dot", ["dot", "cosine"], "cosine normalises documents and queries", flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "replace what stands at --out", flag_values=values)
    flags.DEFINE_string(
        "queries", None, "vectors of typical queries, to measure recall on", flag_values=values
    )
    integer("dims", "exact, scann: a funnel, whose first search takes so many dimensions")
    integer("rerank_dims", "of a funnel: dimensions that order what was found (default: all)")
    integer("rerank", "of a funnel: documents that are found and ordered again (default: 200)")
    integer(
        "reorder", "candidates scored exactly, as a multiple of k (default: scann 4 to 16, measured; else 2)"
    )
    integer("threads", "scann, seismic: for building (default: the library's choice)")
    switch("force_tree", "scann: a tree also under 10,000 documents")
    integer("leaves", "scann: partitions (default: sqrt of the documents)")
    integer("leaves_to_search", "scann: partitions per query (default: measured)")
    integer("dims_per_block", "scann: dimensions per hash code (default: 2)")
    number("anisotropic_threshold", "scann: of the quantisation (default: 0.2)")
    number("soar", "scann: each document in a second partition, with this lambda, e.g. 1.5 (default: off)")
    integer("training_sample", "scann: documents to train on (default: 100000)")
    number("target_recall", "scann: recall@100 to reach (default: 0.97 on queries, 0.98 on documents)")
    integer("n_postings", "seismic: documents kept per term, on average (default: 3500)")
    number("centroid_fraction", "seismic: blocks per list, as a share of its documents (default: 0.1)")
    integer("min_cluster_size", "seismic: documents per block, at least (default: 2)")
    number("summary_energy", "seismic: share of a block's weight that its summary keeps (default: 0.4)")
    number("max_fraction", "seismic: longest list, as a multiple of n_postings (default: 1.5)")
    integer("doc_cut", "seismic: terms of a document that count when blocks are made (default: 15)")
    integer("neighbours", "seismic: of each document, that refine what is found (default: 0)")
    integer("query_cut", "seismic: heaviest terms of a query whose lists are read (default: 10)")
    number("heap_factor", "seismic: higher prunes more, 0 nothing (default: 0.8)")
    integer("block_size", "bmp: documents per block (default: 32)")
    switch("compress", "bmp: the blocks' bounds: smaller and slower")
    number("alpha", "bmp: 1 loses nothing, less stops earlier (default: 1)")
    number("beta", "bmp: share of a query's terms that count (default: 1)")


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir index takes flags only, not {positional[0]!r}")
    if not values.vectors or not values.out:
        raise InputError("jaxir index needs --vectors and --out (jaxir index --help has an example)")
    from jaxir.retrieval import index

    options = {name: values[name].value for name in OPTIONS if values[name].value is not None}
    index.build(
        values.vectors,
        values.out,
        kind=values.kind,
        metric=values.metric,
        overwrite=values.overwrite,
        **options,
    )
    print(f"written to {values.out}: {index.describe(values.out)}")
