"""One nested model against models trained separately for each size, from the same published weights.

  python benchmarks/nested.py --out=runs/nested \\
    --source=beir:data/squad-sentences --source=beir:data/squadshifts

From --model (the packaged MiniLM) every method is trained for as many steps on the same pairs: Matryoshka
(widths at full depth), 2D (a layer and a width drawn at each step), Starbucks (the list of --sizes),
Starbucks after masked pre-training at those sizes (SMAE, once for all seeds, --smae-set), and for each size
a model of so many layers and dimensions alone. Measured is nDCG@10 on a sample of each source's test split
(--queries, --docs: the relevant documents of the queries and random others), at every layer and width of
--sizes. What is measured stands in figures.jsonl as soon as it is known: started again with the same command,
it goes on. Then table.md (mean and sample standard deviation over seeds) and table.png.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import statistics
import sys
from typing import Any, NamedTuple

import numpy as np
import shared

from jaxir.config import load_config, override
from jaxir.data.prepare import prepare_spec
from jaxir.evaluation import plots, sizes, stages
from jaxir.evaluation.sizes_cut import Wide
from jaxir.files import write_text
from jaxir.retrieval.model import encode_queries, make_doc_fn
from jaxir.training.checkpoint import Model, load_model
from jaxir.training.compiled import keep_compiled
from jaxir.training.train import train
from jaxir.types import Doc

MEASURE = "nDCG@10"
UNTRAINED, SEPARATE, SMAE = "not trained", "trained separately", "SMAE, Starbucks"
NESTED = {
    "Matryoshka": "matryoshka:{data},minilm",
    "2D": "matryoshka:{data},minilm,2d",
    "Starbucks": "starbucks:{data},minilm",
    SMAE: "starbucks:{data},minilm",
}
Size = tuple[int, int]  # layers, dimensions


class Collection(NamedTuple):
    name: str
    split: stages.Split
    docs: list[Doc]
    ids: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=shared.minilm())
    parser.add_argument("--data", default="squad", help="a data set of configs/matryoshka.py to train on")
    parser.add_argument("--source", action="append", required=True, help="to measure on")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--sizes", default="1x32,2x64,4x128,6x384", help="layers x dimensions, ascending")
    parser.add_argument("--set", action="append", default=[], help="key=value of every method's config")
    parser.add_argument("--smae-set", action="append", default=[], help="key=value of the pre-training's")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--docs", type=int, default=2000)
    parser.add_argument("--doc-length", type=int, default=128, help="tokens of the documents measured on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=[*NESTED, SEPARATE])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    keep_compiled(given.out)
    listed = [tuple(map(int, size.split("x"))) for size in given.sizes.split(",")]
    collections = [read(given, source) for source in given.source]
    kept = shared.Kept(given.out / "figures.jsonl")
    rows = [evaluated(given, kept, c, UNTRAINED, 0, listed) for c in collections]
    for seed, method in itertools.product(given.seeds, given.methods):
        for some in [[size] for size in listed] if method == SEPARATE else [listed]:
            rows += [evaluated(given, kept, c, method, seed, some) for c in collections]
    write(given.out, rows, [c.name for c in collections], [UNTRAINED, *given.methods], listed)


def read(given: argparse.Namespace, source: str) -> Collection:
    """The sample of a collection, the same for all models."""
    prepared = prepare_spec(source, given.out / "data")
    split = stages.read_split(prepared, "test", limit=given.queries)
    relevant = {one for judged in split.qrels.values() for one, grade in judged.items() if grade > 0}
    order = np.random.default_rng(0).permutation(len(prepared.docs))
    docs = list(prepared.docs)
    others = [docs[i] for i in order if docs[i].doc_id not in relevant]
    chosen = [doc for doc in docs if doc.doc_id in relevant] + others
    chosen = chosen[: max(given.docs, len(relevant))]
    return Collection(prepared.name, split, chosen, np.array([doc.doc_id for doc in chosen]))


def evaluated(
    given: argparse.Namespace, kept: shared.Kept, c: Collection, method: str, seed: int, listed: list[Size]
) -> dict[str, Any]:
    """The figures of one run on one collection; the run is trained where it is not."""
    size = "{}x{}-".format(*listed[0]) if method == SEPARATE else ""
    run = f"{method}-{size}{seed}".replace(",", "").replace(" ", "-").lower()

    def measure() -> dict[str, Any]:
        model = load_model(trained(given, run, method, seed, listed), step="latest")
        lengths = {**model.config["max_length"], "doc": given.doc_length}
        model = model._replace(config={**model.config, "max_length": lengths})
        layers, dims = (tuple(sorted(set(part))) for part in zip(*listed))
        figures = nested_figures(model, c, layers, dims)
        return dict(method=method, seed=seed, source=c.name, figures=figures)

    return kept.get(f"{run} on {c.name}", measure)


def trained(given: argparse.Namespace, run: str, method: str, seed: int, listed: list[Size]) -> Any:
    """The directory of the run, trained where it is not; the published folder for none."""
    if method == UNTRAINED:
        return given.model
    alone = method == SEPARATE
    config = load_config((NESTED[method] if not alone else NESTED["Matryoshka"]).format(data=given.data))
    config.init_from = given.model
    if method == SMAE:
        config.init_from = str(pretrained(given, listed))
    if alone:
        (layers, dims), *_ = listed
        config.init_with.layers = layers
        config.nested["dims"] = (dims,)
    elif "sizes" in config.nested:
        config.nested["sizes"] = tuple(listed)
    else:
        config.nested["dims"] = tuple(dims for _, dims in listed)
    finish(config, seed, given.set)
    train(config, given.out / run)
    return given.out / run


def pretrained(given: argparse.Namespace, listed: list[Size]) -> pathlib.Path:
    """The directory of the masked pre-training."""
    config = load_config(f"smae:{given.data},minilm")
    config.init_from = given.model
    config.init_with["pretraining"]["sizes"] = tuple(listed)
    finish(config, 0, given.smae_set)
    train(config, given.out / "smae")
    return given.out / "smae"


def finish(config: Any, seed: int, settings: list[str]) -> None:
    config.seed, config.eval.every, config.checkpoint.every = seed, 0, 0
    for setting in settings:
        override(config, *setting.split("=", 1))


def nested_figures(
    model: Model, c: Collection, layers: tuple[int, ...], dims: tuple[int, ...]
) -> dict[str, float]:
    """nDCG@10 by "layers x dimensions", from one pass over the texts."""
    wide, _, _ = sizes.at_layers(model, None, layers)
    of = lambda values: Wide(values, model.encoder.dim, model.encoder.normalized)
    docs, queries = of(make_doc_fn(wide)(c.docs)), of(encode_queries(wide, c.split.texts))
    found, _ = sizes.search_sizes(
        docs, queries, c.ids, c.split, layers, dims, measures=(MEASURE,), depth=10, progress=False
    )
    return {f"{size.layers}x{size.dims}": size.figures[MEASURE] for size in found}


def write(
    out: pathlib.Path, rows: list[dict[str, Any]], names: list[str], methods: list[str], listed: list[Size]
) -> None:
    lines, panels = [], {}
    deepest = listed[-1][0]
    wide = [(deepest, dims) for _, dims in listed[:-1]]
    for name in names:
        lines += [
            f"| {name} | " + " | ".join(f"{n} x {d}" for n, d in (*listed, *wide)) + " |",
            "| --- " * (1 + len(listed) + len(wide)) + "|",
        ]
        panels[name] = {}
        for method in methods:
            mine = [row["figures"] for row in rows if row["method"] == method and row["source"] == name]
            cells, spots = [], []
            for n, d in (*listed, *wide):
                found = [figures[f"{n}x{d}"] for figures in mine if f"{n}x{d}" in figures]
                if not found:
                    cells.append("")
                    continue
                mean, spread = statistics.mean(found), statistics.stdev(found) if len(found) > 1 else None
                cells.append(f"{mean:.4f}" + (f" ± {spread:.4f}" if spread is not None else ""))
                if (n, d) in listed:
                    spots.append(plots.Spot(d, mean, None, spread or None))
            panels[name][method] = spots
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    write_text(out / "table.md", "\n".join(lines))
    cost = "dimensions (with " + ", ".join(str(n) for n, _ in listed) + " layers)"
    plots.frontier(out / "table.png", panels, cost=cost, measure=MEASURE)
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
