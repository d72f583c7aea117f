"""jaxir mine: negatives for each query, from what an index, BM25 or a run finds for it, to train on.

  jaxir mine --index=runs/dense/index --workdir=runs/dense --depth=100 --max_score=0.95 --per_query=16 \\
    --out=negatives.jsonl
  jaxir mine --bm25 --source=beir:data/squad --workdir=runs/squad --skip_top=5 --pick=random --out=bm25.jsonl
  jaxir mine --run=run.trec --source=runs/squad/data/squad --margin=0.05 --scores --out=teacher.jsonl

Of the first --depth documents of each query that has a relevant one are dropped, in this order: what any
split calls relevant to it, the text of such a document (or of the query) under another id, a text that ranked
higher under another id; the first --skip_top of the others; what scores at least --absolute_max, at least the
positive's score - --margin, or at least --max_score times the positive's score. Of what is left --per_query
are picked. --out gets a line for each query, {"query_id", "doc_ids"}; with --scores the positives as well,
and "scores", for losses that learn from a teacher. A run that was stopped goes on where it was. To train:

  jaxir train --config.data.negatives_file=negatives.jsonl --config.data.listed=8 ...

A positive that scores below 0 has no share of its score that is lower: --max_score=P then asks for a score
below t - (1 - P) |t|, which for t above 0 is P t.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_model


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("index", None, "what jaxir index wrote, dense or sparse", flag_values=values)
    flags.DEFINE_string("run", None, "a TREC run of the split's queries", flag_values=values)
    flags.DEFINE_bool("bm25", False, "BM25 over the collection", flag_values=values)
    define_model(values)
    flags.DEFINE_string("workdir", None, "where a model and a prepared collection are", flag_values=values)
    flags.DEFINE_string(
        "source",
        None,
        "collection, as in jaxir prepare, or what that wrote (default: the one that was indexed)",
        flag_values=values,
    )
    flags.DEFINE_string("split", "train", "for whose queries to mine", flag_values=values)
    flags.DEFINE_integer("depth", 100, "documents that are found for each query", flag_values=values)
    flags.DEFINE_integer(
        "skip_top", 0, "leave out so many of the first that are no positives", flag_values=values
    )
    flags.DEFINE_float("margin", None, "keep scores below the positive's minus this", flag_values=values)
    flags.DEFINE_float(
        "max_score", None, "keep scores below this share of the positive's, as 0.95", flag_values=values
    )
    flags.DEFINE_float("absolute_max", None, "keep scores below this", flag_values=values)
    flags.DEFINE_string(
        "reference", "best", "of several positives which score: best, mean or worst", flag_values=values
    )
    flags.DEFINE_integer("per_query", 16, "negatives of each query", flag_values=values)
    flags.DEFINE_string(
        "pick", "top", "top, random or weighted (by 1 / rank) among those left", flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "of the random picks", flag_values=values)
    flags.DEFINE_bool("scores", False, "write scores, of the positives as well", flag_values=values)
    flags.DEFINE_string(
        "doc_text",
        None,
        "what of a document BM25 reads and makes two the same: text or title+text (default: what the model "
        "reads, else text)",
        flag_values=values,
    )
    flags.DEFINE_string(
        "language", "en", "of BM25's words: en, another ISO 639 code, or auto", flag_values=values
    )
    flags.DEFINE_string("out", None, "jsonl file to write; .gz packs it", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace --out", flag_values=values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir mine takes flags only, not {positional[0]!r}")
    if sum(map(bool, (values.index, values.run, values.bm25))) != 1:
        raise InputError("jaxir mine needs one of --index=DIR, --run=FILE and --bm25: what finds documents")
    if not values.out:
        raise InputError("jaxir mine needs --out=FILE.jsonl (jaxir mine --help has examples)")
    if not values.index and not values.source:
        raise InputError("add --source: the collection that a run or BM25 is about")
    if pathlib.Path(values.out).exists() and not values.overwrite:
        raise InputError(f"{values.out} exists already; choose another file or add --overwrite")
    from jaxir.retrieval import mining, mining_data, mining_job, mining_origins
    from jaxir.retrieval.encode import make_text_fn
    from jaxir.retrieval.model import settings

    rules = mining.Rules(**{name: values[name].value for name in mining.Rules._fields})
    mining.check_rules(rules, values.depth)
    index, model = _index_and_model(values)
    prepared = _collection(values, index)
    text_fn = make_text_fn(values.doc_text or (settings(model)["doc_text"] if model else "text"))
    relevant = mining_data.relevant_of(prepared, values.split)
    what = (prepared, values.split)
    if index is not None:
        origin = mining_origins.of_index(index, model, *what, depth=values.depth)
    elif values.bm25:
        origin = mining_origins.of_bm25(*what, depth=values.depth, text_fn=text_fn, language=values.language)
    else:
        origin = mining_origins.of_run(values.run, *what, relevant, depth=values.depth)
    summary = mining_job.mine_to_file(
        values.out, *what, relevant, origin, rules, depth=values.depth, text_fn=text_fn, scores=values.scores
    )
    for line in mining_job.describe(summary, rules):
        print(line)
    print(f"written to {values.out}")


def _index_and_model(values: flags.FlagValues) -> tuple[Any, Any]:
    """The index of --index and the model that encodes queries for it; without --index neither."""
    if not values.index:
        return None, None
    from jaxir.config import TRUSTED
    from jaxir.retrieval import find
    from jaxir.retrieval import index as indexes
    from jaxir.training.checkpoint import load_model
    from jaxir.training.compiled import keep_compiled
    from jaxir.training.model import is_workdir

    if values.workdir:
        keep_compiled(values.workdir)
    index = indexes.open(values.index)
    path = values.model
    if path is None:
        own = values.workdir and is_workdir(values.workdir)
        path = values.workdir if own else find.find_model(index.path)
    return index, load_model(path, allow=(*TRUSTED, *values.allow_import))


def _collection(values: flags.FlagValues, index: Any) -> Any:
    from jaxir.data import prepared
    from jaxir.data.prepare import prepare_spec

    if values.source:
        home = pathlib.Path(values.workdir) if values.workdir else pathlib.Path(values.out).absolute().parent
        return prepare_spec(values.source, home / "data")
    source = index.manifest.get("source") or {}
    if not source.get("path") or not pathlib.Path(source["path"]).is_dir():
        raise InputError(f"the collection that {values.index} indexes is not where it was: add --source")
    return prepared.load(source["path"])
