"""jaxir csr: sparse codes of dense vectors (CSR): trains a top-k autoencoder, and encodes with it.

Training, on what jaxir encode wrote or on any .npy file [n, d] of floats:

  jaxir csr --vectors=runs/minilm/vectors --out=runs/csr --k=32

With queries and judgements, so that codes of queries find their documents:

  jaxir csr --vectors=runs/minilm/vectors --queries=runs/minilm/train --qrels=data/scifact/qrels/train.tsv \\
    --out=runs/csr

Encoding, to sparse vectors with at most k weights each, which jaxir index and jaxir search take:

  jaxir csr --model=runs/csr --vectors=runs/minilm/vectors --k=32 --out=runs/csr/codes
  jaxir index --vectors=runs/csr/codes --kind=sparse --out=runs/csr/index
  jaxir search --index=runs/csr/index "who wrote the first compiler?"

Training ends with the explained variance, the dead latents and the active dimensions, over all vectors.
docs/csr.md says what is trained, and how codes compare with the first dimensions of the vectors.
"""

from __future__ import annotations

from typing import Any

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import local_mesh

TRAINING = (
    *("latents", "steps", "batch_size", "learning_rate", "tied", "scale", "subspace", "more_weight", "aux_k"),
    *("aux_weight", "dead_after", "contrast_weight", "temperature", "seed"),
)
"""Flags that become fields of jaxir.training.autoencoder.Options."""


def define(values: flags.FlagValues) -> None:
    def text(name: str, help: str) -> None:
        flags.DEFINE_string(name, None, help, flag_values=values)

    def integer(name: str, help: str) -> None:
        flags.DEFINE_integer(name, None, help, flag_values=values)

    def number(name: str, help: str) -> None:
        flags.DEFINE_float(name, None, help, flag_values=values)

    text("vectors", "directory that jaxir encode wrote, or a .npy file [n, d]")
    text("out", "directory to write: the autoencoder, or with --model the codes")
    text("model", "what jaxir csr trained; with it vectors are encoded")
    integer("k", "active dimensions (default: 32, and of --model those it was trained at)")
    text("queries", "their vectors, for the contrast of pairs; with --qrels")
    text("qrels", "which documents are relevant to them, TREC or BEIR tsv")
    flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "of stored codes", flag_values=values)
    flags.DEFINE_bool("normalize", True, "codes of length 1: dot products are cosines", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace what stands at --out", flag_values=values)
    integer("latents", "of the autoencoder (default: 4 per dimension)")
    integer("steps", "of training (default: 2000)")
    integer("batch_size", "vectors per step (default: 1024)")
    number("learning_rate", "of Adam (default: 4e-4)")
    flags.DEFINE_bool("tied", None, "the decoder is the encoder (default: yes)", flag_values=values)
    number("scale", "vectors are multiplied by it (default: 1 / their root mean square)")
    integer("subspace", "start in the so many directions of largest variance (default: anywhere)")
    number("more_weight", "of the error at 4 k (default: 1/8)")
    integer("aux_k", "dead latents that fit the residual (default: 512)")
    number("aux_weight", "of what they do (default: 1/32)")
    integer("dead_after", "steps without use that make a latent dead (default: 30)")
    number("contrast_weight", "of the contrastive term (default: 0.1)")
    number("temperature", "of its cosines (default: 0.2)")
    integer("seed", "of weights and batches (default: 0)")


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir csr takes flags only, not {positional[0]!r}")
    if not values.vectors or not values.out:
        raise InputError("jaxir csr needs --vectors and --out (jaxir csr --help has examples)")
    given = {name: values[name].value for name in TRAINING if values[name].value is not None}
    if values.model:
        extra = [*given, *(name for name in ("queries", "qrels") if values[name].value)]
        if extra:
            raise InputError(f"--{extra[0]} is for training; with --model={values.model} vectors are encoded")
        _encode(values)
        return
    if bool(values.queries) != bool(values.qrels):
        raise InputError("--queries and --qrels go together: vectors, and what is relevant to them")
    _train(values, given)


def _encode(values: flags.FlagValues) -> None:
    from jaxir.retrieval import codes, sparse_vectors

    codes.encode_codes(
        values.model,
        values.vectors,
        values.out,
        k=values.k,
        dtype=values.dtype,
        normalize=values.normalize,
        overwrite=values.overwrite,
    )
    written = sparse_vectors.read(values.out)
    n, dim = written.shape
    mean = len(written.values) / n
    print(f"written to {values.out}: {n:,} codes of {dim:,} latents, {mean:.1f} active dimensions each")
    print(f"next: jaxir index --vectors={values.out} --kind=sparse --out=INDEX")


def _train(values: flags.FlagValues, given: dict[str, Any]) -> None:
    import dataclasses
    import pathlib

    from jaxir.evaluation import qrels
    from jaxir.files import MANIFEST
    from jaxir.models import saved_autoencoder
    from jaxir.retrieval import codes
    from jaxir.training import autoencoder

    if (pathlib.Path(values.out) / MANIFEST).exists() and not values.overwrite:  # before the work
        raise InputError(f"{values.out} exists already; choose another directory or add --overwrite")
    found = codes.open_embeddings(values.vectors, progress=True)
    options = autoencoder.Options(**given, **({} if values.k is None else {"k": values.k}))
    pairs = None
    if values.queries:
        queries = codes.open_embeddings(values.queries)
        at = codes.pair_rows(qrels.read(values.qrels), queries.ids, found.ids)
        pairs = autoencoder.QueryPairs(queries.values, *at)
        print(f"{len(at[0]):,} pairs of a query and a relevant document")
    trained = autoencoder.train(found.values, options, pairs=pairs, mesh=local_mesh())
    quality = autoencoder.evaluate(
        trained.autoencoder, trained.params, found.values, options.k, progress=True
    )
    saved_autoencoder.save(
        values.out,
        trained.autoencoder,
        trained.params,
        k=options.k,
        overwrite=values.overwrite,
        vectors_of=codes.model_of(found),
        options=dataclasses.asdict(options),
        pairs=0 if pairs is None else len(pairs.query_row),
        quality=quality._asdict(),
        last_step=trained.metrics,
    )
    latents = trained.autoencoder.latents
    print(
        f"written to {values.out}: explained variance {quality.explained:.1%}, dead latents "
        f"{quality.dead:,} of {latents:,}, active dimensions {quality.active:.1f}"
    )
    print(f"next: jaxir csr --model={values.out} --vectors={values.vectors} --out=CODES")
