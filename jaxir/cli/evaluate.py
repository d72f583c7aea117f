"""jaxir evaluate: compares runs, or encodes, indexes, searches and measures in one go.

Runs from anywhere, as TREC run files, against TREC or BEIR qrels (plain or .gz):

  jaxir evaluate --run=bm25.trec --run=dense=runs/7/test.trec --qrels=qrels/test.tsv \\
    --measures="nDCG@10 R@100 P(rel=2)@5"

The whole chain with a trained or published encoder: prepares the collection if needed, encodes it, builds the
indexes, searches the split's queries, adds BM25 and the hybrid of both, and writes a report:

  jaxir evaluate --workdir=runs/squad --source=beir:data/scifact --kind=exact --kind=scann
  jaxir evaluate --model=sentence-transformers/all-MiniLM-L6-v2 --workdir=runs/minilm \\
    --source=beir:data/scifact

Of a sparse encoder the kinds are exact, seismic and bmp, and the report has its active terms, FLOPS, and the
latency and size of each index. The parts of a hybrid encoder are searched one by one, and added.

With --rerank_dims (or --rerank) dense vectors are searched by a funnel as well: --dims dimensions propose
--rerank documents, --rerank_dims order them; the report has its recall, latency and size beside exact search:

  jaxir evaluate --workdir=runs/nested --source=beir:data/scifact --dims=64 --rerank_dims=384 --kind=exact

Similarity of sentences (STS Benchmark, SICK-R, ...), on tsv files with the columns score, sentence1,
sentence2 or a directory with a test.tsv per folder: Spearman's and Pearson's correlation of score and cosine:

  jaxir evaluate --model=sentence-transformers/all-MiniLM-L6-v2 --sts=data/sts/stsb/test.tsv --report=runs/sts
  jaxir evaluate --workdir=runs/squad --sts=data/sts
  jaxir evaluate --workdir=runs/nested --sts=data/sts/stsb/test.tsv --grid --layers=2,4,6 --dims=32,64,384

--layers and --dims measure the encoder cut to that size, as jaxir encode and jaxir export do. With --grid
they are lists, and every size is measured in one pass over the collection, with a heatmap of what each finds
and costs; the default is what was trained, or up to six layers and six widths:

  jaxir evaluate --workdir=runs/nested --source=beir:data/scifact --grid
  jaxir evaluate --workdir=runs/nested --source=beir:data/scifact --grid --layers=2,4,6 --dims=32,64,384

On several machines with a common disk, start it on each with --distributed=auto: each encodes and searches a
part of the collection, and process 0 writes.

p-values are of the paired randomisation test against the baseline, which is the first run or --baseline.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from jaxir.checks import InputError
from jaxir.cli import evaluate_grid, evaluate_runs, evaluate_size, evaluate_sts
from jaxir.cli.evaluate_size import at_size, funnel
from jaxir.cli.shared import define_model, define_processes, local_mesh, open_model, start_processes


def define(values: flags.FlagValues) -> None:
    evaluate_runs.define(values)
    flags.DEFINE_string(
        "measures", "MRR@10 nDCG@10 R@100", "names that ir-measures knows", flag_values=values
    )
    flags.DEFINE_string("baseline", None, "run to compare with; default: the first", flag_values=values)
    flags.DEFINE_string("report", None, "directory for a report", flag_values=values)
    flags.DEFINE_string(
        "workdir", None, "work directory of jaxir train; with --model any directory", flag_values=values
    )
    define_model(values)
    evaluate_size.define(values)
    evaluate_grid.define(values)
    evaluate_sts.define(values)
    flags.DEFINE_string(
        "source", None, "collection, as in jaxir prepare, or what that wrote", flag_values=values
    )
    flags.DEFINE_string("split", "test", "whose queries are searched", flag_values=values)
    flags.DEFINE_string(
        "dev_split", "dev", "whose queries choose the hybrid's weight, if it exists", flag_values=values
    )
    flags.DEFINE_multi_enum(
        "kind",
        None,
        ["exact", "scann", "sparse", "seismic", "bmp"],
        "index; once per kind (default: exact)",
        flag_values=values,
    )
    flags.DEFINE_integer("depth", 100, "documents per query", flag_values=values, lower_bound=1)
    flags.DEFINE_bool("bm25", True, "add BM25 and the hybrid", flag_values=values)
    flags.DEFINE_string(
        "language", "en", "of BM25's words: en, another ISO 639 code, or auto", flag_values=values
    )
    define_processes(values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir evaluate takes flags only, not {positional[0]!r}")
    if values.part and not values.grid:
        raise InputError("--part is for --grid: without it, all parts of a hybrid are searched")
    if values.sts:
        evaluate_sts.run(values)
    elif values.grid:
        evaluate_grid.run(values)
    elif values.run:
        evaluate_runs.run(values)
    elif values.model and not values.workdir:
        raise InputError("--model needs --workdir=DIR, where vectors, indexes and the report go")
    elif values.workdir:
        if not values.source:
            raise InputError("--workdir needs --source=..., the collection to search")
        _chain(values)
    else:
        raise InputError(
            "give --run=FILE with --qrels=FILE, or --workdir=DIR with --source=..., or with --sts=FILE.tsv"
        )


def _chain(values: flags.FlagValues) -> None:
    start_processes(values)

    from jaxir import processes
    from jaxir.data.prepare import prepare_spec
    from jaxir.evaluation import chain, measures

    measures.parse(values.measures)  # before anything slow
    workdir = pathlib.Path(values.workdir)
    model = at_size(values, open_model(values))
    with processes.first_then_others("prepare"):
        prepared = prepare_spec(values.source, workdir / "data", allow=None)
    result = chain.evaluate_chain(
        model,
        prepared,
        workdir,
        split=values.split,
        dev_split=values.dev_split or None,
        kinds=tuple(dict.fromkeys(values.kind)) if values.kind else None,
        measures=values.measures,
        depth=values.depth,
        funnel=funnel(values),
        bm25=values.bm25,
        hybrid=values.bm25,
        language=values.language,
        baseline=values.baseline,
        mesh=local_mesh(),
        progress=processes.is_first(),
    )
    if processes.is_first():
        _show(values, result, model=model, prepared=prepared)
    processes.barrier("report")  # no process ends while another still works


def _show(values: flags.FlagValues, result: Any, *, model: Any, prepared: Any) -> None:
    from jaxir.evaluation import table
    from jaxir.evaluation.chain_report import write_chain_report

    workdir = pathlib.Path(values.workdir)
    table.show(result.table, title=f"{prepared.name}: {len(result.qrels):,} queries of {values.split}")
    for name, recall in result.recalls.items():
        print(f"{name} finds {recall:.1%} of the exact first documents")
    for name, cost in result.searches.items():
        latency, size = cost["milliseconds per query"], cost["index bytes"] / 1e6
        found = f", recall@10 {cost['recall@10']:.3f}" if "recall@10" in cost else ""
        print(f"{name}: {latency:,.2f} ms per query, {size:,.1f} MB{found}")
    if result.sparsity:
        shown = ("active query terms", "active document terms", "FLOPS")
        print(", ".join(f"{name} {result.sparsity[name]:,.2f}" for name in shown))
    for note in result.notes:
        print(f"note: {note}")
    name = next(iter(result.indexes.values())).parent.name
    page = write_chain_report(
        values.report or workdir / f"report-{name}-{values.split}",
        result,
        model=model,
        prepared=prepared,
        workdir=workdir,
        split=values.split,
    )
    print(f"runs: {next(iter(result.indexes.values())).parent}/{values.split}.*.trec")
    print(f"report: {page}")
