"""jaxir rerank: orders the first documents of a run anew, by a cross-encoder or any other model.

  jaxir rerank --workdir=runs/cross --source=beir:data/nfcorpus --out=reranked.trec
  jaxir rerank --model=cross-encoder/ms-marco-MiniLM-L6-v2 --run=runs/7/test.bm25.trec \\
    --source=beir:data/scifact --depth=50 --out=reranked.trec
  jaxir rerank --workdir=runs/cross --run=runs/first --source=beir:data/scifact --out=runs/second

--run is a TREC run of the split's queries, or a directory with several (*.trec, *.run, plain or .gz), each of
which is written under its name to the directory --out. Without --run the run is BM25's. A cross-encoder reads
each pair of query and document; the score by any other model is that of its exact search. Documents beyond
--depth keep their order, below the others. Where the split has judgements, the measures before and after are
shown.
Started again with the same command, scoring goes on where it was stopped.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_model, local_mesh, open_model

RUNS = (".trec", ".run", ".txt")


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("run", None, "TREC run, or directory of runs (default: BM25's)", flag_values=values)
    define_model(values)
    flags.DEFINE_string(
        "workdir", None, "work directory of jaxir train; with --model any directory", flag_values=values
    )
    flags.DEFINE_string(
        "source",
        None,
        "collection, as in jaxir prepare, or what that wrote; it is prepared in --workdir, or beside --out",
        flag_values=values,
    )
    flags.DEFINE_string("split", "test", "whose queries the run is of", flag_values=values)
    flags.DEFINE_integer(
        "depth", 100, "documents of each query that are scored", flag_values=values, lower_bound=1
    )
    flags.DEFINE_string("part", None, "of a hybrid encoder: dense or sparse", flag_values=values)
    flags.DEFINE_string(
        "measures", "MRR@10 nDCG@10 R@100", "names that ir-measures knows", flag_values=values
    )
    flags.DEFINE_string(
        "language", "en", "of BM25's words: en, another ISO 639 code, or auto", flag_values=values
    )
    flags.DEFINE_string("out", None, "TREC run to write; .gz packs it", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace --out", flag_values=values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir rerank takes flags only, not {positional[0]!r}; a run is --run=FILE")
    if not values.source or not values.out or not (values.model or values.workdir):
        raise InputError(
            "jaxir rerank needs --source, --out, and --workdir or --model (jaxir rerank --help has examples)"
        )
    files = _files(values)
    for _, out in files:
        if out.exists() and not values.overwrite:
            raise InputError(f"{out} exists already; choose another name or add --overwrite")

    from jaxir.data.prepare import prepare_spec
    from jaxir.evaluation import measures
    from jaxir.retrieval import rerank, runs
    from jaxir.retrieval.pair_scores import forget

    measures.parse(values.measures)  # before anything slow
    # A prepared collection lies where --workdir says, or beside what is written.
    home = pathlib.Path(values.workdir) if values.workdir else files[0][1].parent
    given = [(file, runs.read(file) if file else None) for file, _ in files]
    prepared = prepare_spec(values.source, home / "data")
    model = open_model(values)
    if not values.run:
        how = dict(depth=values.depth, language=values.language)
        given = [(None, rerank.by_words(model, prepared, values.split, **how))]
    for (file, before), (_, out) in zip(given, files):
        after = rerank.rerank(
            model,
            prepared,
            values.split,
            before,
            depth=values.depth,
            part=values.part,
            mesh=local_mesh(),
            out=out,
            where=str(file or "BM25's run"),
        )
        runs.write(out, after)
        forget(out)
        _show(values, prepared, str(file.name if file else "bm25"), before, after)
        print(f"written to {out}")


def _files(values: flags.FlagValues) -> list[tuple[pathlib.Path | None, pathlib.Path]]:
    """(run to read, or None for BM25's; run to write) pairs."""
    out = pathlib.Path(values.out)
    if not values.run or not pathlib.Path(values.run).is_dir():
        if out.is_dir():
            raise InputError(f"{out} is a directory, expected the name of a run file such as {out}/new.trec")
        return [(pathlib.Path(values.run) if values.run else None, out)]
    folder = pathlib.Path(values.run)
    found = sorted(f for f in folder.iterdir() if pathlib.Path(f.name.removesuffix(".gz")).suffix in RUNS)
    if not found:
        raise InputError(f"{folder} holds no runs: there is no file that ends in {', '.join(RUNS)} (or .gz)")
    if out.resolve() == folder.resolve():
        raise InputError(f"--out is the directory of the runs, {folder}: choose another one")
    return [(file, out / file.name) for file in found]


def _show(values: flags.FlagValues, prepared: Any, name: str, before: Any, after: Any) -> None:
    from jaxir.data.prepared import qrels_by_id
    from jaxir.evaluation import measures, table

    if values.split not in prepared.qrels or not len(prepared.qrels[values.split].query_row):
        print(f"split {values.split!r} of {prepared.name} has no judgements: nothing is measured")
        return
    judged = qrels_by_id(prepared, values.split)
    scores = measures.measure_runs({name: before, "reranked": after}, judged, values.measures)
    made = table.build(scores.figures, per_query=scores.per_query, baseline=name)
    table.show(made, title=f"{prepared.name}: {len(judged):,} queries of {values.split}")
    for note in scores.notes:
        print(f"note: {note}")
