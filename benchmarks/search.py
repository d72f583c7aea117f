"""Exact and ScaNN search beside numpy's matmul + argpartition: build time, queries/s, recall, bytes.

  python benchmarks/search.py --sizes=10000,100000,1000000

The vectors are random projections to 128 dimensions of TF-IDF vectors of real passages: those of the
collections in the folder JAXIR_DATA (BEIR layout), or of the installed packages' docstrings. Where there
are fewer passages than vectors, they repeat with a little noise. Queries are the collections' own.
Times are medians of runs that alternate between the engines, so that a busy machine slows all alike.
The last line is a JSON object with all figures.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
import scipy.sparse

from jaxir.files import read_manifest
from jaxir.retrieval import index, vectors
from jaxir.retrieval.words import analyzer

DIM = 128
BUCKETS = 1 << 17
WORDS = 40
QUERIES = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of vectors")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each engine")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    docs, queries = real_vectors(max(sizes))
    figures = {}
    print("  vectors engine     k     batch 1   batch 256   recall@10  @100   build    MB")
    for size in sizes:
        figures[str(size)] = measure(docs[:size], queries, arguments.repeats)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "jax": jax.default_backend()}
    print(json.dumps({"benchmark": "search", "dim": DIM, **machine, "sizes": figures}))


def measure(docs: np.ndarray, queries: np.ndarray, repeats: int) -> dict[str, dict]:
    figures: dict[str, dict] = {"numpy": {"megabytes": docs.nbytes / 1e6, "recall@10": 1, "recall@100": 1}}
    engines: dict[str, Callable] = {"numpy": lambda q, k: brute_force(q, docs, k)}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        vectors.write(folder / "vectors", docs, [str(row) for row in range(len(docs))], normalized=True)
        truth, _ = brute_force(queries[1::2], docs, 100)
        for kind in index.DENSE_KINDS:
            start = time.perf_counter()
            # Half of the queries choose the leaves, the other half measure.
            options = {"queries": queries[::2]} if kind == "scann" else {}
            index.build(folder / "vectors", folder / kind, kind=kind, progress=False, **options)
            seconds = time.perf_counter() - start
            engines[kind] = index.open(folder / kind).search
            manifest = read_manifest(folder / kind)
            figures[kind] = {
                "build_seconds": seconds,
                "megabytes": sum(file["bytes"] for file in manifest["files"].values()) / 1e6,
                "options": manifest.get("options"),
            }
            for k in (10, 100):
                found, _ = engines[kind](queries[1::2], k)
                # By score, because passages that occur twice tie.
                figures[kind][f"recall@{k}"] = float((found >= truth[:, k - 1 : k] - 1e-6).mean())
        for k in (10, 100):
            for batch in (1, 256):
                for engine, rate in rates(engines, queries, k, batch, repeats).items():
                    figures[engine][f"queries_per_second_k{k}_batch{batch}"] = rate
    for k in (10, 100):
        for engine, found in figures.items():
            one, many = (found[f"queries_per_second_k{k}_batch{b}"] for b in (1, 256))
            print(
                f"{len(docs):>9,} {engine:<7} {k:>4} {one:>9,.0f}/s {many:>9,.0f}/s   "
                f"{found['recall@10']:>9.3f} {found['recall@100']:>5.3f} "
                f"{found.get('build_seconds', 0):>6.1f}s {found['megabytes']:>5,.0f}",
                flush=True,
            )
    return figures


def rates(
    engines: dict[str, Callable], queries: np.ndarray, k: int, batch: int, repeats: int
) -> dict[str, float]:
    """Queries per second of each engine: the median over calls that alternate between them."""
    calls = repeats if batch > 1 else 20 * repeats
    seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    for call in range(calls + 1):
        at = call * batch % (len(queries) - batch + 1)
        for engine in list(engines)[:: 1 if call % 2 else -1]:
            start = time.perf_counter()
            engines[engine](queries[at : at + batch], k)
            if call:  # the first one warms up
                seconds[engine].append(time.perf_counter() - start)
    return {engine: batch / statistics.median(times) for engine, times in seconds.items()}


def brute_force(queries: np.ndarray, docs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ docs.T
    rows = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    found = np.take_along_axis(scores, rows, axis=1)
    order = np.argsort(-found, axis=1)
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(rows, order, axis=1)


def real_vectors(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n document vectors and QUERIES query vectors, of length 1."""
    rng = np.random.default_rng(0)
    texts, asked = collections()
    texts = texts[:n]
    terms = analyzer("en")
    counts = bags(map(terms, texts), len(texts))
    idf = np.log(len(texts) / (1 + counts.getnnz(axis=0))).clip(0).astype(np.float32)
    projection = rng.standard_normal((BUCKETS, DIM), np.float32) * idf[:, None]
    base = unit(counts @ projection)
    asked = [asked[i] for i in rng.permutation(len(asked))]
    wanted = unit(bags(map(terms, asked), len(asked)) @ projection)
    wanted = wanted[np.linalg.norm(wanted, axis=1) > 0.5][:QUERIES]
    rows = np.resize(rng.permutation(len(base)), n)
    docs = base[rows]
    noise = rng.standard_normal((max(n - len(base), 0), DIM), np.float32) * (0.3 / np.sqrt(DIM))
    docs[len(base) :] = unit(docs[len(base) :] + noise)
    print(f"{n:,} vectors from {len(base):,} real passages, {len(wanted)} real queries", flush=True)
    return docs, wanted


def collections() -> tuple[list[str], list[str]]:
    """Passages of about WORDS words, and queries."""
    folder = os.environ.get("JAXIR_DATA")
    if not folder:
        from jaxir.data.sources import pydocs

        source = pydocs.open()
        return passages(d.text for d in source.docs), [q.text for s in source.queries.values() for q in s]
    files = sorted(pathlib.Path(folder).glob("*/corpus.jsonl"))
    texts = passages(line["text"] for file in files for line in lines(file))
    return texts, [line["text"] for file in files for line in lines(file.with_name("queries.jsonl"))]


def lines(file: pathlib.Path) -> Iterator[dict]:
    with file.open(encoding="utf-8") as opened:
        yield from map(json.loads, opened)


def passages(texts: Iterable[str]) -> list[str]:
    cut = [
        " ".join(words[i : i + WORDS]) for words in map(str.split, texts) for i in range(0, len(words), WORDS)
    ]
    rng = np.random.default_rng(1)
    return [cut[i] for i in rng.permutation(len(cut))]


def bags(texts: Iterable[list[str]], n: int) -> scipy.sparse.csr_matrix:
    """Hashed counts [n, BUCKETS]; the hash does not change between runs."""
    bucket: dict[str, int] = {}
    columns, starts = [], [0]
    for terms in texts:
        for term in terms:
            if term not in bucket:
                bucket[term] = int.from_bytes(term.encode()[:24], "big") * 2654435761 % 2**61 % BUCKETS
            columns.append(bucket[term])
        starts.append(len(columns))
    data = np.ones(len(columns), np.float32)
    return scipy.sparse.csr_matrix((data, columns, starts), (n, BUCKETS))


def unit(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)


if __name__ == "__main__":
    main()
