"""Search in sparse vectors beside scipy's product: exact, Seismic, BMP; and queries as bags of words.

  python benchmarks/sparse_search.py --sizes=10000,100000 [--engines=seismic,bmp] [--vectors=words]

With --vectors=zipf terms are drawn with probability ~ 1 / (rank + 20): 130 draws per document and 30 per
query, which have about 3 terms in common with a document, as those of a trained SPLADE model have some. With
--vectors=words they are TF-IDF weights ln(1 + tf) * idf of passages of 130 words of the collections in the
folder JAXIR_DATA (BEIR layout) over 30,522 hashed terms: about 90 terms each, rarely in common. Where there
are fewer passages than documents, they repeat with a third of their terms left out. A query is then a
collection's own, expanded by the 20 heaviest terms of the passage that fits it best.

scipy is ``queries @ docs.T`` with the documents by term (its fastest form), 64 queries at a time, and the k
best of each by argpartition. Times are medians of runs that alternate, so that a busy machine slows all
alike. The last line is a JSON object with all figures.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
from shared import interleaved, machine

from jaxir.evaluation.sparsity import flops
from jaxir.files import read_manifest
from jaxir.retrieval import index, sparse_vectors
from jaxir.retrieval.encode_fn import BagOfWords
from jaxir.retrieval.rescore import recall
from jaxir.retrieval.words import analyzer

TERMS = 30_522
WORDS = 130
EXPANDED = 20
QUERIES = 300
ALONE = 20
K = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000", help="numbers of documents")
    parser.add_argument("--engines", default="seismic,bmp", help="beside the exact index; may be empty")
    parser.add_argument("--vectors", default="zipf", choices=["zipf", "words"])
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    made = zipf_vectors if options.vectors == "zipf" else real_vectors
    docs, queries = made(max(sizes))
    kinds = ["sparse", *filter(None, options.engines.split(","))]
    figures: dict[str, Any] = {}
    for size in sizes:
        figures[str(size)] = measure(docs[:size], queries, kinds, options.repeats)
    bag = bag_microseconds()
    print(f"a query as a bag of words: {bag:.1f} us")
    print(
        json.dumps(
            {"benchmark": "sparse_search", "bag_microseconds": bag, **facts(queries), "sizes": figures}
        )
    )


def facts(queries: sp.csr_array) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    return {"queries": queries.shape[0], "terms_per_query": queries.nnz / queries.shape[0], **machine(cores)}


def measure(docs: sp.csr_array, queries: sp.csr_array, kinds: list[str], repeats: int) -> dict[str, Any]:
    n = docs.shape[0]
    by_term = docs.T.tocsr()
    engines: dict[str, Callable] = {"scipy": lambda q, k: brute_force(q, by_term, k)}
    figures: dict[str, dict[str, Any]] = {"scipy": {"megabytes": docs.nnz * 8 / 1e6}}
    half = queries[::2], queries[1::2]  # one half measures recall while building, the other here
    truth = brute_force(half[1], by_term, K)[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        sparse_vectors.write(folder / "vectors", docs, [str(row) for row in range(n)])
        for kind in kinds:
            began = time.perf_counter()
            options = {} if kind == "sparse" else {"queries": half[0]}
            index.build(folder / "vectors", folder / kind, kind=kind, progress=False, **options)
            seconds = time.perf_counter() - began
            manifest = read_manifest(folder / kind)
            engines[kind] = index.open(
                folder / kind, **({"backend": "numpy"} if kind == "sparse" else {})
            ).search
            figures[kind] = {
                "build_seconds": seconds,
                "megabytes": sum(file["bytes"] for file in manifest["files"].values()) / 1e6,
                "options": manifest.get("options"),
            }
        if jax.default_backend() != "cpu":
            engines["jax"] = index.open(folder / "sparse", backend="jax").search
            figures["jax"] = {}
        for name, search in engines.items():
            found = search(half[1], K)[0]
            for k in (10, K):
                figures[name][f"recall@{k}"] = recall(found, truth, k)
        batch = interleaved({e: lambda s=s: s(queries, K) for e, s in engines.items()}, repeats)
        alone = interleaved(
            {e: lambda s=s: [s(queries[[row]], K) for row in range(ALONE)] for e, s in engines.items()},
            repeats,
        )
    cost = flops(queries, docs)
    print(f"{n:,} documents of {docs.nnz / n:.0f} terms, FLOPS {cost:.2f}, k = {K}")
    print(f"{'':10} ms per query, of {queries.shape[0]} together and alone")
    for name, found in figures.items():
        found["ms_batch"] = 1e3 * statistics.median(batch[name]) / queries.shape[0]
        found["ms_alone"] = 1e3 * statistics.median(alone[name]) / ALONE
        print(
            f"  {name:<8} {found['ms_batch']:8.3f} {found['ms_alone']:8.3f}   "
            f"recall@10 {found['recall@10']:.3f} @100 {found['recall@100']:.3f}   "
            f"build {found.get('build_seconds', 0):6.1f} s {found.get('megabytes', 0):7.1f} MB",
            flush=True,
        )
    return {"terms_per_doc": docs.nnz / n, "flops": cost, **figures}


def brute_force(queries: sp.csr_array, by_term: sp.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best by scipy's product."""
    results = []
    for start in range(0, queries.shape[0], 64):
        scores = (queries[start : start + 64] @ by_term).toarray()
        rows = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(scores, rows, axis=1)
        order = np.argsort(-best, axis=1, kind="stable")
        results.append([np.take_along_axis(x, order, axis=1) for x in (best, rows)])
    scores, rows = (np.concatenate(x) for x in zip(*results))
    return np.where(scores > 0, scores, -np.inf), rows


def bag_microseconds(queries: int = 1000, tokens: int = 12, repeats: int = 51) -> float:
    """The median time of one query, alone, from token ids to a sparse row."""
    rng = np.random.default_rng(0)
    bag = BagOfWords(rng.random(TERMS, np.float32))
    texts = [rng.integers(0, TERMS, tokens).astype(np.int32) for _ in range(queries)]
    seconds = []
    for text in texts[: repeats * 4]:
        began = time.perf_counter()
        bag.rows([text])
        seconds.append(time.perf_counter() - began)
    return 1e6 * statistics.median(seconds)


def zipf_vectors(n: int) -> tuple[sp.csr_array, sp.csr_array]:
    """n documents and QUERIES queries over TERMS terms of Zipf's frequencies."""
    rng = np.random.default_rng(0)
    shares = np.cumsum(1 / (np.arange(TERMS) + 20))

    def rows(count: int, draws: int) -> sp.csr_array:
        terms = np.searchsorted(shares / shares[-1], rng.random((count, draws)))
        flat = np.unique(np.arange(count)[:, None] * TERMS + np.minimum(terms, TERMS - 1))
        ends = np.searchsorted(flat, np.arange(count + 1) * TERMS)
        weights = rng.gamma(2, 0.4, len(flat)).astype(np.float32)
        return sp.csr_array((weights, (flat % TERMS).astype(np.int32), ends.astype(np.int32)), (count, TERMS))

    return rows(n, 130), rows(QUERIES, 30)


def real_vectors(n: int) -> tuple[sp.csr_array, sp.csr_array]:
    """n documents and QUERIES queries over TERMS terms."""
    folder = os.environ.get("JAXIR_DATA")
    if not folder:
        sys.exit("set JAXIR_DATA to a folder of collections in BEIR layout")
    files = sorted(pathlib.Path(folder).glob("*/corpus.jsonl"))
    terms, rng = analyzer("en"), np.random.default_rng(0)
    texts = [text for file in files for text in passages(line["text"] for line in lines(file))]
    texts = [texts[i] for i in rng.permutation(len(texts))[:n]]
    asked = [line["text"] for file in files for line in lines(file.with_name("queries.jsonl"))]
    asked = [asked[i] for i in rng.permutation(len(asked))[:QUERIES]]
    counts = bags(map(terms, texts), len(texts))
    idf = np.log(1 + len(texts) / (1 + np.bincount(counts.indices, minlength=TERMS))).astype(np.float32)
    base, wanted = weights(counts, idf), weights(bags(map(terms, asked), len(asked)), idf)
    docs = base[np.resize(np.arange(len(texts)), n)]
    again = np.repeat(np.arange(n), np.diff(docs.indptr)) >= len(texts)
    docs.data[again & (rng.random(docs.nnz) < 1 / 3)] = 0
    docs.eliminate_zeros()
    sample = base[:10_000]
    best = np.asarray((wanted @ sample.T).argmax(axis=1)).ravel()
    rows = []
    for query, doc in zip(wanted.toarray(), sample[best].toarray()):
        heaviest = np.argsort(-doc)[:EXPANDED]
        query[heaviest] = np.maximum(query[heaviest], 0.5 * doc[heaviest])
        rows.append(query)
    print(f"{n:,} documents from {len(texts):,} real passages, {len(rows)} real queries", flush=True)
    return docs, sp.csr_array(np.array(rows))


def passages(texts: Iterable[str]) -> Iterator[str]:
    """Of WORDS words each: shorter texts are joined, longer ones cut."""
    words: list[str] = []
    for text in texts:
        words += text.split()
        while len(words) >= WORDS:
            yield " ".join(words[:WORDS])
            words = words[WORDS:]


def lines(file: pathlib.Path) -> Iterator[dict]:
    with file.open(encoding="utf-8") as opened:
        yield from map(json.loads, opened)


def bags(texts: Iterable[list[str]], n: int) -> sp.csr_array:
    """Hashed counts [n, TERMS]; the hash does not change between runs."""
    column: dict[str, int] = {}
    columns, starts = [], [0]
    for text in texts:
        for term in text:
            if term not in column:
                column[term] = int.from_bytes(term.encode()[:24], "big") * 2654435761 % 2**61 % TERMS
            columns.append(column[term])
        starts.append(len(columns))
    counts = sp.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(n, TERMS))
    counts.sum_duplicates()
    return counts


def weights(counts: sp.csr_array, idf: np.ndarray) -> sp.csr_array:
    counts.data = np.log1p(counts.data) * idf[counts.indices]
    return counts


if __name__ == "__main__":
    main()
