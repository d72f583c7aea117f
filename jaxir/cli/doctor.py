"""jaxir doctor: checks an encoder or an index for failures that raise no error but give wrong scores.

  jaxir doctor --workdir=runs/squad
  jaxir doctor --index=runs/squad/retrieval/scifact-1a2b3c4d/index-exact
  jaxir doctor --workdir=runs/squad --source=beir:data/cranfield
  jaxir doctor --model=exported --workdir=runs/minilm --source=beir:data/scifact

It looks at: tokenizer against model, unknown tokens, cut texts, NaN, collapsed or constant embeddings,
lengths against the metric, padding, prefixes, documents as queries, judgements that point nowhere, the
perfect run's score, fingerprints of model and index, stored vectors against the model, and the recall of
an approximate index. Of sparse encoders: texts without active terms or with half of the vocabulary, terms
that are heavy in every text, vocabulary that is never used, special tokens that are active.

With --sizes it also measures, on judged queries among a sample of documents, what smaller sizes of the
encoder lose, and warns of those that were not trained; --layers and --dims are lists of them:

  jaxir doctor --workdir=runs/squad --sizes
  jaxir doctor --workdir=runs/squad --sizes --dims=32,64,128

Exit code: 0, 1 if something failed, 2 for a mistake in the command.
"""

from __future__ import annotations

import sys

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_model, define_sizes, sizes_flag


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "work directory of jaxir train; with --model any directory", flag_values=values
    )
    define_model(values)
    flags.DEFINE_string("index", None, "index directory", flag_values=values)
    flags.DEFINE_string(
        "source",
        None,
        "collection to take texts and judgements from; default: the one trained on or indexed",
        flag_values=values,
    )
    flags.DEFINE_string(
        "vectors", None, "what --index was built from, if it is a ScaNN index", flag_values=values
    )
    flags.DEFINE_string(
        "measures",
        "MRR@10 nDCG@10 R@100",
        "on which the perfect run must score 1",
        flag_values=values,
    )
    flags.DEFINE_bool("sizes", False, "measure what smaller sizes of the encoder lose", flag_values=values)
    define_sizes(values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir doctor takes flags only, not {positional[0]!r}")
    if not values.workdir and not values.index and not values.model:
        raise InputError(
            "give --workdir=DIR, a work directory, or --index=DIR, an index, or both, or --model"
        )
    layers, dims = sizes_flag(values, "layers"), sizes_flag(values, "dims")
    if (layers or dims) and not values.sizes:
        raise InputError("--layers and --dims say which sizes --sizes measures: add --sizes")
    from jaxir.config import TRUSTED
    from jaxir.evaluation import measures
    from jaxir.evaluation.checkup import examine, show

    findings = examine(
        workdir=values.workdir,
        model=values.model,
        index=values.index,
        source=values.source,
        vectors=values.vectors,
        measures=tuple(measures.parse(values.measures)),
        allow=(*TRUSTED, *values.allow_import),
        sizes=values.sizes,
        layers=layers,
        dims=dims,
    )
    show(findings)
    if any(f.level == "fail" for f in findings):
        sys.exit(1)
