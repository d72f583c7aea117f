"""Sparse codes (CSR) against the first dimensions of the same vectors, at equal active dimensions.

  python benchmarks/csr.py --model=sentence-transformers/all-MiniLM-L6-v2 --workdir=runs/minilm \\
    --out=runs/csr-table --source=beir:data/scifact --source=beir:data/nfcorpus --source=beir:data/cranfield

For each k an autoencoder is trained on the vectors of the collection's documents, which stay as they are,
without judgements ("CSR"), and where the collection has a train split also with its pairs ("CSR, paired").
Codes are compared by cosine; so are the first k dimensions, by the same; "all" is the whole vector. What is
measured stands in figures.jsonl as soon as it is known: started again with the same command, it goes on.
Then table.md, table.json (mean and sample standard deviation over seeds) and table.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import shared

from jaxir.checks import InputError
from jaxir.data.prepare import prepare_spec
from jaxir.data.prepared import Prepared, qrels_by_id
from jaxir.evaluation import measures, plots, stages
from jaxir.files import fingerprint, write_json, write_text
from jaxir.retrieval import codes, runs, vectors
from jaxir.retrieval.ids import unpack_ids
from jaxir.retrieval.model import encode_prepared
from jaxir.retrieval.topk import NOT_FOUND, RunningTopK
from jaxir.training import autoencoder
from jaxir.training.autoencoder import Options, QueryPairs
from jaxir.training.checkpoint import Model, load_model
from jaxir.training.compiled import keep_compiled

MEASURE = "nDCG@10"
SET = ("steps", "batch_size", "learning_rate", "contrast_weight", "latents")
"""Options of training that are flags; the others are those of jaxir csr."""

CSR, PAIRED, FIRST, ALL = "CSR", "CSR, paired", "first dimensions", "all dimensions"


class Collection(NamedTuple):
    name: str
    docs: np.ndarray  # [n, d]
    ids: np.ndarray
    queries: np.ndarray  # [q, d]
    split: stages.Split
    pairs: Callable[[], QueryPairs] | None  # of the train split, encoded when first asked for


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--workdir", required=True, help="where vectors are, or go; as of jaxir evaluate")
    parser.add_argument("--source", action="append", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--k", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--paired", action=argparse.BooleanOptionalAction, default=True)
    defaults = {f.name: f.default for f in dataclasses.fields(Options)}
    for name in ("steps", "batch_size"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=defaults[name])
    for name in ("learning_rate", "contrast_weight"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=defaults[name])
    parser.add_argument("--latents", type=int)
    given = parser.parse_args()
    options = Options(**{name: getattr(given, name) for name in SET})
    keep_compiled(given.workdir)
    model = load_model(given.model)
    if model.encoder.kind != "dense":
        raise InputError(
            f"{given.model} gives {model.encoder.kind} representations; codes are of dense vectors"
        )
    collections = [read(given, model, source) for source in given.source]
    rows = [row for c in collections for row in simple(c, given.k)]
    kept = shared.Kept(given.out / "figures.jsonl")
    jobs = [
        (c, method, dataclasses.replace(options, k=k, seed=seed))
        for method in (CSR, PAIRED) if given.paired or method == CSR
        for seed in given.seeds for c in collections for k in given.k
        if method == CSR or c.pairs is not None
    ]  # fmt: skip
    for number, (c, method, how) in enumerate(jobs, 1):
        print(f"{number} of {len(jobs)}: {c.name}, {method}, k={how.k}, seed {how.seed}", file=sys.stderr)
        key = fingerprint(c.name, c.docs.shape, method, dataclasses.asdict(how))
        rows.append(kept.get(key, lambda c=c, method=method, how=how: one(c, method, how)))
    write(given.out, rows, [c.name for c in collections], given.k, collections[0].docs.shape[1])


def read(given: argparse.Namespace, model: Model, source: str) -> Collection:
    """Encodes what is not encoded yet."""
    prepared = prepare_spec(source, pathlib.Path(given.workdir) / "data")
    home = stages.home_of(model, prepared, given.workdir)
    found = vectors.read(stages.encode_docs(model, prepared, home / "vectors", model_path=given.model))
    split = stages.read_split(prepared, given.split)
    queries = encoded_queries(model, prepared, home, given.split)
    row = {one: at for at, one in enumerate(unpack_ids(queries.ids))}
    asked = queries.values[[row[one] for one in split.ids]]

    def pairs() -> QueryPairs:
        train = encoded_queries(model, prepared, home, "train")
        at = codes.pair_rows(qrels_by_id(prepared, "train"), train.ids, found.ids)
        return QueryPairs(train.values, *at)

    has_pairs = given.paired and "train" in prepared.qrels
    return Collection(prepared.name, found.values, found.ids, asked, split, pairs if has_pairs else None)


def encoded_queries(model: Model, prepared: Prepared, home: pathlib.Path, split: str) -> vectors.Vectors:
    out = home / f"queries-{split}"
    if not out.exists():
        encode_prepared(model, prepared, out, side="query", split=split)
    return vectors.read(out)


def simple(c: Collection, ks: list[int]) -> list[dict[str, Any]]:
    """Prefixes, normalised again, and whole vectors: nothing is trained."""
    rows = []
    for k in [*ks, c.docs.shape[1]]:
        queries, docs = (_normalized(x[:, :k].astype(np.float32)) for x in (c.queries, c.docs))
        method = FIRST if k in ks else ALL
        rows.append(dict(source=c.name, method=method, k=k, value=ndcg(c, queries @ docs.T)))
    return rows


def one(c: Collection, method: str, options: Options) -> dict[str, Any]:
    """Trains one autoencoder, and searches with its codes."""
    trained = autoencoder.train(c.docs, options, pairs=c.pairs() if method == PAIRED else None)
    encode = codes.encoder_of(trained.autoencoder, trained.params, options.k)
    value = ndcg(c, (encode(c.queries) @ encode(c.docs).T).toarray(), sparse=True)
    quality = autoencoder.evaluate(trained.autoencoder, trained.params, c.docs, options.k)
    return dict(
        source=c.name, method=method, k=options.k, seed=options.seed, value=value, **quality._asdict()
    )


def ndcg(c: Collection, scores: np.ndarray, *, sparse: bool = False) -> float:
    """nDCG@10; a sparse index does not find what has no latent in common with the query."""
    top = RunningTopK(len(scores), 10)
    top.update(scores.astype(np.float32), 0)
    best, rows = top.result()
    if sparse:
        rows = np.where(best > 0, rows, NOT_FOUND)
    run = runs.from_arrays(best, rows, c.split.ids, c.ids)
    return measures.evaluate(run, c.split.qrels, MEASURE)[MEASURE]


def write(out: pathlib.Path, rows: list[dict[str, Any]], names: list[str], ks: list[int], dim: int) -> None:
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["method"], row["k"]), []).append(row)

    def summary(name: str, method: str, k: int) -> tuple[float, float] | None:
        found = [row["value"] for row in groups.get((name, method, k), [])]
        return (statistics.mean(found), statistics.stdev(found) if len(found) > 1 else 0.0) if found else None

    lines = [
        "| collection | method | " + " | ".join(f"k = {k}" for k in ks) + " |",
        "| --- " * (len(ks) + 2) + "|",
    ]
    panels: dict[str, dict[str, list[plots.Spot]]] = {}
    table: list[dict[str, Any]] = []
    for name in names:
        whole = groups[name, ALL, dim][0]["value"]
        panels[name] = {}
        for method in (CSR, PAIRED, FIRST):
            found = [(k, summary(name, method, k)) for k in ks]
            if any(s is None for _, s in found):
                continue
            shown = [f"{s[0]:.4f}" + ("" if method == FIRST else f" ± {s[1]:.4f}") for _, s in found]
            lines.append(f"| {name} | {method} | {' | '.join(shown)} |")
            panels[name][method] = [plots.Spot(k, s[0], None, s[1] or None) for k, s in found]
            for k, (mean, spread) in found:
                row = dict(source=name, method=method, k=k, mean=mean, spread=spread)
                table.append({**row, "runs": groups[name, method, k]})
        lines.append(f"| {name} | all {dim} | " + " | ".join([f"{whole:.4f}"] * len(ks)) + " |")
        panels[name][f"all {dim} dimensions"] = [plots.Spot(None, whole)]
        table.append(dict(source=name, method=ALL, k=dim, mean=whole))
    write_text(out / "table.md", "\n".join(lines) + "\n")
    write_json(out / "table.json", table)
    plots.frontier(out / "table.png", panels, cost="active dimensions", measure=MEASURE)
    print("\n".join(lines))


def _normalized(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"benchmarks/csr.py: {error}")
