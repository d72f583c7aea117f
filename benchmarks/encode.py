"""Texts per second of jaxir and of sentence-transformers, side by side.

  JAXIR_DATA=... python benchmarks/encode.py [--texts=2000] [--repeats=5] [--cores=2]
  JAXIR_DATA=... python benchmarks/encode.py --device=gpu --dtype=bfloat16 --batches=256,1024 --texts=5000

Encodes real paragraphs of natural length (squadshifts) with all-MiniLM-L6-v2, at most 256 tokens each.
Both run in this process on the same cores, in turns. sentence-transformers takes the better of the given
batch sizes, found on the first 256 texts; jaxir runs as its commands do. The first run of each is not
timed (jaxir compiles in it). The last line is a JSON object with all figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a folder of sentence-transformers; default: the packaged MiniLM")
    parser.add_argument("--data", help="the folder that holds squadshifts/; default: JAXIR_DATA")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--length", type=int, default=256, help="tokens of a text at most")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", default="32,64", help="batch sizes of sentence-transformers")
    parser.add_argument("--tokens-per-batch", type=int, help="of jaxir; default: its own")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    cores = shared.pin(options.cores, options.device)

    import numpy as np

    from jaxir.config import build
    from jaxir.models import pretrained
    from jaxir.retrieval.batches import plan
    from jaxir.retrieval.encode import encode_texts, make_encode_fn, make_tokenize_fn

    figures = {"benchmark": "encode", **shared.machine(cores), "dtype": options.dtype}
    folder = options.model or shared.minilm()
    texts = shared.paragraphs(shared.squadshifts(options.data), options.texts)

    found = pretrained.read(folder, dtype=options.dtype)
    encode_fn = make_encode_fn(build(found.spec), found.params)
    tokenize_fn = make_tokenize_fn(found.tokenizer, max_length=options.length)
    lengths = np.array([len(ids) for ids in tokenize_fn(texts)])
    size, ladder = encode_fn.suited
    size = options.tokens_per_batch or size
    batches = plan(lengths, tokens_per_batch=size, ladder=ladder, max_length=options.length)
    cells = sum(batch.length * batch.size for batch in batches)

    def ours():
        return encode_texts(encode_fn, texts, tokenize_fn, max_length=options.length, tokens_per_batch=size)

    began = time.perf_counter()
    vectors = ours()
    first = time.perf_counter() - began
    runs = {"jaxir": ours}

    model = shared.peer(folder, options.device)
    if model is not None:
        model.max_seq_length = options.length
        if options.dtype == "bfloat16":
            model.bfloat16()
        few, sizes = texts[:256], [int(size) for size in options.batches.split(",")]

        def theirs(texts, size):
            return model.encode(texts, batch_size=size, show_progress_bar=False)

        pilot = {size: (lambda size=size: theirs(few, size)) for size in sizes}
        shared.interleaved(pilot, 1)
        times = {size: min(seconds) for size, seconds in shared.interleaved(pilot, 3).items()}
        best = min(times, key=times.__getitem__)
        shown = ", ".join(f"{size}: {len(few) / seconds:.1f}/s" for size, seconds in times.items())
        print(f"sentence-transformers by batch size: {shown}")
        other = np.asarray(theirs(texts, best), np.float32)
        figures["min_cosine"] = float((vectors * other).sum(1).min())
        figures["batch_size"] = best
        runs["sentence-transformers"] = lambda: theirs(texts, best)

    seconds = shared.interleaved(runs, options.repeats)
    tokens = int(lengths.sum())
    print(f"{'':<22} {'texts/s':>8} {'tokens/s':>9}   seconds of each run")
    for name, times in seconds.items():
        median = statistics.median(times)
        each = " ".join(f"{t:.1f}" for t in times)
        print(f"{name:<22} {len(texts) / median:>8.1f} {tokens / median:>9,.0f}   {each}")
        figures[name] = {
            "texts_per_second": round(len(texts) / median, 2),
            "tokens_per_second": round(tokens / median),
            "median_seconds": round(median, 3),
        }
    figures |= {
        "texts": len(texts),
        "tokens": tokens,
        "padding_waste": round(1 - tokens / cells, 4),
        "shapes": len({(batch.length, batch.size) for batch in batches}),
        "first_run_seconds": round(first, 1),
    }
    if options.device != "cpu":
        ceiling = shared.matmul_ceiling(options.dtype)
        rate = shared.trunk_flops(found.spec, lengths) / statistics.median(seconds["jaxir"])
        figures["matmul_tflops"] = round(ceiling / 1e12, 1)
        figures["utilisation"] = round(rate / ceiling, 4)
    if model is not None:
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        figures["ratio"] = round(medians["sentence-transformers"] / medians["jaxir"], 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
