"""jaxir score: a teacher's scores of documents for each training query, for distillation.

  jaxir score --model=sentence-transformers/all-MiniLM-L6-v2 --source=beir:data/squad --split=train \\
    --candidates=bm25 --depth=16 --workdir=runs/teacher --out=teacher.jsonl
  jaxir score --model=runs/dense --model=runs/splade --source=beir:data/squad --candidates=run.trec \\
    --workdir=runs/teacher --out=teacher.jsonl

Each query gets its relevant documents and --depth others: BM25's first ones, those of the first model's own
search (--candidates=model), of a TREC run, or of a file of negatives. --out gets a line for each query,
{"query_id", "doc_ids", "scores"}; with several --model "scores" has a list for each. To train on it:

  jaxir train --config.data.negatives_file=teacher.jsonl --config.data.listed=8 ...

with a loss that reads teacher scores (margin_mse, kl, ...) on "listed". A teacher is a cross-encoder, which
reads query and document together, or any encoder of texts. Started again with the same command, scoring goes
on where it was stopped.
"""

from __future__ import annotations

import pathlib

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_allow_import, local_mesh


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_multi_string(
        "model",
        [],
        "work directory, folder of published weights or Hub name; once per teacher (default: --workdir's)",
        flag_values=values,
    )
    define_allow_import(values)
    flags.DEFINE_string(
        "workdir", None, "where a prepared collection, vectors and index go", flag_values=values
    )
    flags.DEFINE_string(
        "source", None, "collection, as in jaxir prepare, or what that wrote", flag_values=values
    )
    flags.DEFINE_string("split", "train", "whose queries are scored", flag_values=values)
    flags.DEFINE_string(
        "candidates", "bm25", "bm25, model, a TREC run or a jsonl file of negatives", flag_values=values
    )
    flags.DEFINE_integer(
        "depth", 16, "documents of each query beside the relevant ones", flag_values=values, lower_bound=1
    )
    flags.DEFINE_string("part", None, "of a hybrid encoder: dense or sparse", flag_values=values)
    flags.DEFINE_string(
        "language", "en", "of BM25's words: en, another ISO 639 code, or auto", flag_values=values
    )
    flags.DEFINE_string("out", None, "jsonl file to write; .gz packs it", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace --out", flag_values=values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir score takes flags only, not {positional[0]!r}; a teacher is --model=...")
    if not values.source or not values.workdir or not values.out:
        raise InputError("jaxir score needs --source, --workdir and --out (jaxir score --help has examples)")
    if pathlib.Path(values.out).exists() and not values.overwrite:
        raise InputError(f"{values.out} exists already; choose another file or add --overwrite")
    from jaxir.config import TRUSTED
    from jaxir.data.prepare import prepare_spec
    from jaxir.evaluation import teacher
    from jaxir.training.checkpoint import load_model
    from jaxir.training.compiled import keep_compiled
    from jaxir.training.model import check_workdir

    names = values.model or [str(check_workdir(values.workdir))]
    allow = (*TRUSTED, *values.allow_import)
    keep_compiled(values.workdir)
    prepared = prepare_spec(values.source, pathlib.Path(values.workdir) / "data")
    model = load_model(names[0], allow=allow)
    query_row, doc_row = teacher.candidates(
        prepared,
        values.split,
        values.candidates,
        depth=values.depth,
        first=model,
        workdir=values.workdir,
        part=values.part,
        language=values.language,
    )
    pairs = teacher.pairs_of(prepared, values.split, query_row, doc_row, depth=values.depth)
    scores = []
    for number, name in enumerate(names):
        if number:
            model = load_model(name, allow=allow)  # one at a time in memory
        desc = pathlib.Path(name).name
        kept = dict(out=values.out, number=number)
        how = dict(part=values.part, mesh=local_mesh(), desc=desc)
        scores.append(teacher.score(model, prepared, values.split, pairs, **kept, **how))
        first = teacher.share_first(pairs, scores[-1])
        print(f"{name}: a relevant document before all candidates for {first:.1%} of the queries")
    teacher.write(values.out, prepared, values.split, pairs, scores)
    queries, relevant = len(set(pairs.query_row.tolist())), int(pairs.relevant.sum())
    print(
        f"{queries:,} queries, {relevant:,} relevant and {len(pairs.relevant) - relevant:,} other documents, "
        f"{len(names)} teacher{'s' if len(names) > 1 else ''}: {values.out}"
    )
