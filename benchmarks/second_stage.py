"""What comes after a warm start: policy gradients by every estimator, losses of lists, or more of the same.

  python benchmarks/second_stage.py --data=nfcorpus --out=runs/second-stage \\
    --source=beir:data/nfcorpus --source=beir:data/scifact --source=beir:data/cranfield

For each seed an encoder is trained with in-batch negatives (--warm), and from its weights every method goes
on for as many steps on the same lists (variants of configs/policy_gradient.py; "contrastive" is the warm
start's loss for as many steps on as many texts). Measured on the test split of each source, the first being
in domain: nDCG@10 of a search in the whole collection, and of BM25's first 100 documents in the encoder's
order. --teacher is a negatives file with scores, for margin_mse. What is measured stands in figures.jsonl as
soon as it is known: started again with the same command, it goes on. Then table.md (mean and sample standard
deviation over seeds) and rewards.png, the training reward of the policy gradients.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import statistics
import sys
from typing import Any, NamedTuple

import numpy as np
import shared
from matplotlib import pyplot

from jaxir.config import load_config, override
from jaxir.data.prepare import prepare_spec
from jaxir.data.prepared import Prepared
from jaxir.evaluation import measures, plots, stages
from jaxir.files import write_text
from jaxir.losses.estimators import ESTIMATORS
from jaxir.retrieval import runs, vectors
from jaxir.retrieval.bm25 import BM25
from jaxir.retrieval.ids import pack_ids
from jaxir.retrieval.model import encode_queries
from jaxir.training.checkpoint import Model, load_model
from jaxir.training.compiled import keep_compiled
from jaxir.training.log import read_log
from jaxir.training.train import train

MEASURE, DEPTH = "nDCG@10", 100
WARM = "warm start"
METHODS = ("contrastive", "listmle", "approx_ndcg", "margin_mse", *ESTIMATORS)


class Collection(NamedTuple):
    prepared: Prepared
    split: stages.Split
    lexical: BM25


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="a data set of configs/policy_gradient.py")
    parser.add_argument(
        "--source", action="append", required=True, help="to measure on; the first is in domain"
    )
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--warm", default="dense:{data},static", help="config of the warm start")
    parser.add_argument(
        "--warm-set", action="append", default=[], help="key=value of the warm start's config"
    )
    parser.add_argument("--set", action="append", default=[], help="key=value of the second stage's config")
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if m != "margin_mse"])
    parser.add_argument("--teacher", help="negatives file with scores, for margin_mse")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    keep_compiled(given.out)
    collections = [read(source, given.out) for source in given.source]
    kept = shared.Kept(given.out / "figures.jsonl")
    rows = [dict(method="BM25", source=c.prepared.name, **of_words(c)) for c in collections]
    for seed in given.seeds:
        warm = given.out / f"warm-{seed}"
        rows += measured(given, kept, warm, WARM, seed, collections)
        for method in given.methods:
            rows += measured(given, kept, given.out / f"{method}-{seed}", method, seed, collections)
    write(given.out, rows, [c.prepared.name for c in collections], ["BM25", WARM, *given.methods])
    draw(given.out, [m for m in given.methods if m in ESTIMATORS], given.seeds)


def read(source: str, out: pathlib.Path) -> Collection:
    prepared = prepare_spec(source, out / "data")
    docs = list(prepared.docs)
    ids = pack_ids([doc.doc_id for doc in docs])
    lexical = BM25((f"{doc.title} {doc.text}" for doc in docs), ids, progress=False)
    return Collection(prepared, stages.read_split(prepared, "test"), lexical)


def measured(
    given: argparse.Namespace,
    kept: shared.Kept,
    workdir: pathlib.Path,
    method: str,
    seed: int,
    collections: list[Collection],
) -> list[dict[str, Any]]:
    """Trains the run where it is not, measures it where it is not, and returns its rows."""

    @functools.cache
    def model() -> Model:
        train(config_of(given, method, seed), workdir)
        return load_model(workdir, step="latest")

    def row(c: Collection) -> dict[str, Any]:
        return dict(method=method, seed=seed, source=c.prepared.name, **evaluate(model(), c))

    return [kept.get(f"{workdir.name} on {c.prepared.name}", lambda c=c: row(c)) for c in collections]


def config_of(given: argparse.Namespace, method: str, seed: int) -> Any:
    if method == WARM:
        config, settings = load_config(given.warm.format(data=given.data)), given.warm_set
    else:
        variant = "" if method == "integrated" else f",{method}"
        config, settings = load_config(f"policy_gradient:{given.data}{variant}"), given.set
        config.init_from = str(given.out / f"warm-{seed}")
        if method == "margin_mse":
            config.data.negatives_files = (given.teacher,)
    config.eval.every, config.checkpoint.every, config.seed = 0, 0, seed
    for setting in settings:
        override(config, *setting.split("=", 1))
    return config


def evaluate(model: Model, c: Collection) -> dict[str, float]:
    """nDCG@10 of all documents in the model's order, and of BM25's first ones."""
    home = stages.home_of(model, c.prepared, model.path)
    docs = vectors.read(
        stages.encode_docs(model, c.prepared, home / "vectors", model_path=model.path, progress=False)
    )
    scores = encode_queries(model, c.split.texts) @ docs.values.astype(np.float32).T
    found = c.lexical.search(c.split.texts, min(DEPTH, len(c.lexical)))[1]
    some = np.full(scores.shape, -np.inf, np.float32)
    for row, kept in enumerate(found):
        kept = kept[kept >= 0]
        some[row, kept] = scores[row, kept]
    return {"search": ndcg(c, scores, docs.ids), "re-ranked": ndcg(c, some, docs.ids)}


def of_words(c: Collection) -> dict[str, float]:
    """BM25's own order."""
    run = stages.search_words(c.lexical, c.split, DEPTH)
    value = measures.evaluate(run, c.split.qrels, MEASURE)[MEASURE]
    return {"search": value, "re-ranked": value}


def ndcg(c: Collection, scores: np.ndarray, ids: np.ndarray) -> float:
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    best = np.take_along_axis(scores, rows, axis=1)
    rows = np.where(np.isfinite(best), rows, -1)
    run = runs.from_arrays(best, rows, c.split.ids, ids)
    return measures.evaluate(run, c.split.qrels, MEASURE)[MEASURE]


def write(out: pathlib.Path, rows: list[dict[str, Any]], names: list[str], methods: list[str]) -> None:
    columns = [(name, how) for name in names for how in ("search", "re-ranked")]
    lines = [
        "| method | " + " | ".join(f"{name}, {how}" for name, how in columns) + " |",
        "| --- " * (len(columns) + 1) + "|",
    ]
    for method in methods:
        cells = []
        for name, how in columns:
            found = [r[how] for r in rows if r["method"] == method and r["source"] == name]
            spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
            cells.append(f"{statistics.mean(found):.4f}{spread}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    write_text(out / "table.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def draw(out: pathlib.Path, methods: list[str], seeds: list[int]) -> None:
    """Mean reward of the sampled rankings over the training steps, the mean over seeds."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=130, layout="constrained")
    for number, (method, (colour, marker)) in enumerate(zip(methods, plots.SERIES)):
        logs = [[r for r in read_log(out / f"{method}-{seed}") if "loss" in r] for seed in seeds]
        steps = [row["step"] for row in logs[0]]
        mean = -np.mean([[row["loss"] for row in log] for log in logs], axis=0)
        # Estimators that agree lie on each other: markers at different steps show both.
        axes.plot(
            steps, mean, color=colour, marker=marker, markersize=5, markevery=(number % 4, 4), label=method
        )
    axes.set_xlabel("step")
    axes.set_ylabel(f"mean {MEASURE} of sampled rankings")
    axes.legend(fontsize=8)
    figure.savefig(out / "rewards.png")
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
