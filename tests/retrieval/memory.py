"""Peak memory of encoding a corpus, indexing it and searching it, in a process of its own.

python -m tests.retrieval.memory CORPUS.jsonl DOCS

repeats the real corpus up to DOCS documents and prints one JSON object.
"""

import json
import pathlib
import resource
import sys
import tempfile
import time

import jax

from jaxir.data import tokenizer as tokenizers
from jaxir.models.static import static
from jaxir.retrieval import encode, index
from jaxir.types import Doc

DIM = 64
QUERIES = 256


class Repeated:
    """A corpus over and over, each time under other ids."""

    def __init__(self, docs, n):
        self.docs, self.n = docs, n

    def __len__(self):
        return self.n

    def rows(self, rows):
        found = [(row, self.docs[row % len(self.docs)]) for row in rows]
        return [Doc(f"{row}-{doc.doc_id}", doc.title, doc.text) for row, doc in found]


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(corpus, n):
    with open(corpus, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    docs = [Doc(line["_id"], line.get("title", ""), line["text"]) for line in lines]
    tokenizer = tokenizers.train((d.text for d in docs), vocab_size=8000)
    encoder = static(tokenizer.vocab_size, dim=DIM)
    params = encoder.init(jax.random.key(0))
    before = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        start = time.perf_counter()
        encode.encode_corpus(
            encode.make_encode_fn(encoder, params),
            Repeated(docs, n),
            folder / "vectors",
            encode.make_tokenize_fn(tokenizer, max_length=256),
        )
        seconds = time.perf_counter() - start
        encoded = peak_mb()
        index.build(folder / "vectors", folder / "index")
        queries = encode.encode_texts(
            encode.make_encode_fn(encoder, params, side="query"),
            [d.title or d.text[:80] for d in docs[:QUERIES]],
            encode.make_tokenize_fn(tokenizer, max_length=32),
        )
        _, rows = index.open(folder / "index").search(queries, 100)
        assert rows.min() >= 0
    return {
        "docs": n,
        "before_mb": round(before),
        "encoded_mb": round(encoded),
        "peak_mb": round(peak_mb()),
        "vectors_mb": round(n * DIM * 4 / 2**20),
        "docs_per_second": round(n / seconds),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
