"""Funnel search beside exact search: queries per second, recall@10, bytes that the first search reads.

  python benchmarks/funnel.py --docs=100000 --dim=384 --dims=32,64,128

The vectors are random: clusters within clusters, with variance that falls from dimension to dimension, as
Matryoshka training leaves it. They show what a search costs; recall of real vectors is theirs to measure
(jaxir evaluate --dims=64 --rerank_dims=384). Times are medians of runs that alternate between the
searches, so that a busy machine slows all alike. The last line is a JSON object with all figures.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import statistics
import tempfile
from typing import Any

import numpy as np
from shared import interleaved, machine, pin

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--docs", type=int, default=100_000, help="documents")
    parser.add_argument("--dim", type=int, default=384, help="dimensions of the whole vectors")
    parser.add_argument("--dims", default="64", help="those of the first search, several with commas")
    parser.add_argument("--rerank", type=int, default=200, help="documents that are ordered again")
    parser.add_argument("--kind", default="exact", choices=["exact", "scann"], help="of the first search")
    parser.add_argument("--batch", type=int, default=256, help="queries at once, beside one at a time")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each search")
    parser.add_argument("--cores", type=int, default=None, help="default: all")
    given = parser.parse_args()
    cores = pin(given.cores, "cpu")
    facts = machine(cores)

    from jaxir.retrieval import index, vectors

    docs, queries = clustered(given.docs, given.dim, 2 * given.batch)
    tune, asked = queries[: given.batch], queries[given.batch :]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        vectors.write(folder / "v", docs, [str(row) for row in range(len(docs))], normalized=True)
        index.build(folder / "v", folder / "full", progress=False)
        opened = {"exact": index.open(folder / "full")}
        for dims in map(int, given.dims.split(",")):
            out = folder / f"funnel {dims}"
            index.build(
                folder / "v",
                out,
                kind=given.kind,
                dims=dims,
                rerank=given.rerank,
                queries=tune,
                progress=False,
            )
            opened[out.name] = index.open(out)
        truth = opened["exact"].search(asked, K)[1]
        figures: dict[str, dict[str, Any]] = {}
        for label, found in opened.items():
            rows = found.search(asked, K)[1]
            figures[label] = {
                "recall@10": float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, rows)])),
                "index_bytes": sum(file["bytes"] for file in found.manifest["files"].values()),
                "first_bytes": found.manifest.get("first_bytes", docs.nbytes),
            }
        for batch in (1, given.batch):
            runs = {label: functools.partial(some, found, asked, batch) for label, found in opened.items()}
            for label, seconds in interleaved(runs, given.repeats + 1).items():
                rate = calls(batch) * batch / statistics.median(seconds[1:])  # the first one warms up
                figures[label][f"queries_per_second_batch{batch}"] = round(rate, 1)
    print("search        batch 1   batch  many   recall@10   MB read first")
    for label, found in figures.items():
        one, many = (found[f"queries_per_second_batch{b}"] for b in (1, given.batch))
        read = found["first_bytes"] / 1e6
        print(f"{label:<12} {one:>8,.0f}/s {many:>10,.0f}/s {found['recall@10']:>11.3f} {read:>15,.1f}")
    sizes = dict(docs=given.docs, dim=given.dim, rerank=given.rerank, kind=given.kind)
    print(json.dumps({"benchmark": "funnel", **sizes, **facts, "searches": figures}))


def calls(batch: int) -> int:
    """How many calls are timed together: one of a few hundred microseconds is noise."""
    return 20 if batch == 1 else 1


def some(found: Any, queries: np.ndarray, batch: int) -> None:
    for call in range(calls(batch)):
        found.search(queries[call * batch : (call + 1) * batch], K)


def clustered(n: int, dim: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """n documents and some queries of length 1, each near a document."""
    rng = np.random.default_rng(0)
    scale = (1 + np.arange(dim, dtype=np.float32)) ** -0.5
    topics = rng.standard_normal((50, dim), np.float32)
    themes = topics[rng.integers(50, size=2000)] + rng.standard_normal((2000, dim), np.float32)
    docs = themes[rng.integers(2000, size=n)] + rng.standard_normal((n, dim), np.float32)
    near = docs[rng.integers(n, size=queries)] + rng.standard_normal((queries, dim), np.float32)
    return unit(docs * scale), unit(near * scale)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
