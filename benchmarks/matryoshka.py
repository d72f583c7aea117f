"""What nested sizes cost: a training step, the evaluation of a grid, and what an exported size differs by.

  python benchmarks/matryoshka.py [--texts=400] [--repeats=5] [--cores=2]
  python benchmarks/matryoshka.py --device=gpu --dtype=bfloat16 --batch-size=512 --texts=20000

all-MiniLM-L6-v2 (6 layers, 384 dimensions; --model for another). The step: forward, backward and AdamW on
--batch-size pairs of --length tokens, with one objective at full size and with Starbucks of six sizes, in
turns. The grid: 6 x 6 sizes of --texts documents, against encoding them once at full size.
The export: the size (3, 96) written as a folder, loaded again, and compared with the slice of the whole
model. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np
import shared

SHARES = (32, 16, 8, 4, 2, 1)  # of the full width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a folder of sentence-transformers; default: the packaged MiniLM")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=64, help="tokens of each text of the step")
    parser.add_argument("--texts", type=int, default=400, help="documents of the grid")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    cores = shared.pin(options.cores, options.device)
    figures = {"benchmark": "matryoshka", **shared.machine(cores), "dtype": options.dtype}
    folder = options.model or shared.minilm()
    figures |= step_ratio(folder, options)
    with tempfile.TemporaryDirectory() as scratch:
        figures |= grid_ratio(folder, options, pathlib.Path(scratch))
        figures |= export_gap(folder, pathlib.Path(scratch))
    print(json.dumps(figures))


def sizes_of(layers: int, dim: int) -> tuple[tuple[int, int], ...]:
    """Six sizes (or as many as there are layers), from small to large."""
    depths = np.unique(np.linspace(1, layers, len(SHARES)).round().astype(int))
    return tuple((int(n), dim // share) for n, share in zip(depths, SHARES[-len(depths) :]))


def step_ratio(folder: str, options: argparse.Namespace) -> dict[str, float]:
    import jax
    import optax

    from jaxir import trees
    from jaxir.config import build
    from jaxir.models import pretrained
    from jaxir.objectives import combine, starbucks
    from jaxir.training.step import init_state, make_train_step

    found = pretrained.read(folder, dtype=options.dtype, param_dtype="float32", dropout=0.0)
    encoder = build(found.spec)
    plain = combine(dict(rank=dict(fn="jaxir.losses:softmax", on="in_batch", temperature=0.05)))
    sizes = sizes_of(encoder.layers, encoder.dim)
    batch = random_batch(options.batch_size, options.length, found.spec["vocab_size"])
    given = {f"encoder/{name}": leaf for name, leaf in trees.named(found.params).items()}
    steps, states = {}, {}
    objectives = {"plain": plain, "starbucks": starbucks(plain, encoder=encoder, sizes=sizes)}
    for name, objective in objectives.items():
        tx = optax.adamw(2e-5)
        copies = {path: np.array(leaf) for path, leaf in given.items()}  # a step reuses its state's memory
        states[name] = init_state(encoder, objective, tx, jax.random.key(0), given=copies)
        steps[name] = make_train_step(encoder, objective, tx)

    def once(name: str):
        states[name], metrics = steps[name](states[name], batch)
        metrics["loss"].block_until_ready()

    for name in objectives:
        once(name)
    seconds = shared.interleaved({name: lambda name=name: once(name) for name in objectives}, options.repeats)
    medians = {name: statistics.median(seconds[name]) for name in objectives}
    ratio = medians["starbucks"] / medians["plain"]
    print(f"a step of {options.batch_size} pairs of {options.length} tokens, sizes {sizes}")
    print(f"  plain {medians['plain']:.3f} s, starbucks {medians['starbucks']:.3f} s: ratio {ratio:.3f}")
    return {
        "batch_size": options.batch_size,
        "length": options.length,
        "plain_seconds": round(medians["plain"], 4),
        "starbucks_seconds": round(medians["starbucks"], 4),
        "starbucks_step_ratio": round(ratio, 4),
    }


def random_batch(pairs: int, length: int, words: int):
    from jaxir.types import Batch, Tokens

    rng = np.random.default_rng(0)
    ids = rng.integers(1000, words, (2, pairs, length)).astype(np.int32)
    tokens = lambda x: Tokens(x, np.ones(x.shape, bool))
    ones = np.ones((pairs, 1), np.float32)
    return Batch(tokens(ids[0]), tokens(ids[1][:, None]), ones, ones > 0)


def grid_ratio(folder: str, options: argparse.Namespace, scratch: pathlib.Path) -> dict[str, float]:
    """Encoding for the whole grid, and the time of encoding the same texts once at full size."""
    from jaxir.data.prepare import prepare
    from jaxir.evaluation.sizes import evaluate_sizes
    from jaxir.retrieval.model import encode_prepared, encode_queries
    from jaxir.training.checkpoint import load_model

    model = load_model(folder)
    prepared = prepare(source_of(options.texts), scratch / "data", progress=False)
    layers, dims = zip(*sizes_of(model.encoder.layers, model.encoder.dim))
    texts = [query.text for query in prepared.queries["test"]]

    def once(home: pathlib.Path) -> None:
        encode_prepared(model, prepared, home / "full", progress=False)
        encode_queries(model, texts)

    def grid(home: pathlib.Path) -> dict[str, float]:
        how = dict(layers=layers, dims=dims, measures="nDCG@10", bm25=False, progress=False)
        return evaluate_sizes(model, prepared, home, **how).seconds

    seconds: dict[str, list[float]] = {"once": [], "grid": [], "timing": [], "searches": []}
    for repeat in range(options.repeats + 1):  # the first compiles
        began = time.perf_counter()
        once(scratch / f"once-{repeat}")
        found = {"once": time.perf_counter() - began}
        began = time.perf_counter()
        stages = grid(scratch / f"grid-{repeat}")
        whole = time.perf_counter() - began
        rest = {"timing": stages["time"], "searches": stages["search"] + stages["measure"]}
        found |= rest | {"grid": whole - sum(rest.values())}
        if repeat:
            for name, value in found.items():
                seconds[name].append(value)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["grid"] / medians["once"]
    print(f"{len(prepared.docs):,} documents and {len(texts)} queries, {len(layers)} x {len(dims)} sizes")
    print(
        f"  encoded once {medians['once']:.2f} s, at all layers {medians['grid']:.2f} s: ratio {ratio:.3f}; "
        f"searches {medians['searches']:.2f} s, measuring ms per text {medians['timing']:.2f} s"
    )
    whole = (medians["grid"] + medians["timing"] + medians["searches"]) / medians["once"]
    return {
        "texts": len(prepared.docs),
        "grid": f"{len(layers)}x{len(dims)}",
        "full_seconds": round(medians["once"], 3),
        "search_seconds": round(medians["searches"], 3),
        "timing_seconds": round(medians["timing"], 3),
        "grid_over_full_time": round(ratio, 4),
        "grid_with_searches_and_timing": round(whole, 4),
    }


def source_of(count: int):
    """Documents of 60 random words, and a query of words of it for every tenth."""
    from jaxir.types import Doc, Qrel, Query, Source

    rng = np.random.default_rng(0)
    words = np.array(["time", "water", "people", "light", "music", "river", "city", "engine", "paper", "law"])
    draw = lambda: zip(rng.choice(words, 30), rng.integers(0, 999, 30))
    texts = [" ".join(f"{word} {number}" for word, number in draw()) for _ in range(count)]
    docs = [Doc(str(i), "", text) for i, text in enumerate(texts)]
    queries = [Query(str(i), " ".join(texts[i].split()[:6])) for i in range(0, count, 10)]
    qrels = [Qrel(query.query_id, query.query_id, 1) for query in queries]
    return Source("random-words", docs, {"test": queries}, {"test": qrels})


def export_gap(folder: str, scratch: pathlib.Path) -> dict[str, float]:
    """The largest difference between an exported size and the slice of the whole model."""
    from jaxir.data.padding import pad
    from jaxir.models.cut import cut_reps
    from jaxir.training.checkpoint import load_model
    from jaxir.training.publish import publish

    model = load_model(folder)
    layers, dims = model.encoder.layers // 2, model.encoder.dim // 4
    publish(folder, scratch / "small", to="sentence-transformers", layers=layers, dims=dims)
    texts = [doc.text for doc in source_of(32).docs]
    ids = model.tokenizer.encode_batch(texts, max_length=64)
    tokens = pad(ids)
    whole = model.encoder.encode(model.params, tokens, side="doc", layers=(layers,))[0]
    expected = cut_reps(whole, dims, normalized=model.encoder.normalized).values
    small = load_model(scratch / "small")
    found = small.encoder.encode(small.params, tokens, side="doc").values
    gap = float(np.abs(np.asarray(found) - np.asarray(expected)).max())
    print(f"exported at {layers} layers and {dims} dimensions: largest difference {gap:.1e}")
    return {"exported": f"{layers}x{dims}", "export_max_diff": gap}


if __name__ == "__main__":
    main()
