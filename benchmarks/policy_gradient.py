"""What the policy gradient costs: of a training step, and of long lists.

  python benchmarks/policy_gradient.py [--repeats=5] [--cores=2] [--docs=8] [--length=32]
  python benchmarks/policy_gradient.py --device=gpu --dtype=bfloat16 --docs=100 --length=128

The step: forward, backward and AdamW of all-MiniLM-L6-v2 (--model for another) on 32 queries with --docs
candidates each. The policy gradient: value and gradient for the scores of 32 queries x 100 candidates with
16 samples, nDCG@10. ``step_overhead`` is the second over the first: with --docs=100 it is that of one and the
same step, and with fewer an upper bound of it, since the step grows with its candidates and the policy
gradient is that of 100 all the same. ``pl3_over_pl2_time`` is on 4 lists of 1,000, all places counted;
``pl3_memory_ratio`` the temporary memory of pl_rank_3 at 2,000 items over that at 1,000 (2 = linear). The
last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics

import numpy as np
import shared

QUERIES, CANDIDATES, SAMPLES = 32, 100, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a folder of sentence-transformers; default: the packaged MiniLM")
    parser.add_argument("--docs", type=int, default=8, help="candidates of each query of the step")
    parser.add_argument("--length", type=int, default=32, help="tokens of each text of the step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    cores = shared.pin(options.cores, options.device)
    figures = {"benchmark": "policy_gradient", **shared.machine(cores), "dtype": options.dtype}
    figures |= overhead(options.model or shared.minilm(), options)
    figures |= long_lists(options.repeats)
    print(json.dumps(figures))


def lists(queries: int, candidates: int):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(queries, candidates)).astype(np.float32)
    return scores, rng.integers(0, 3, scores.shape).astype(np.float32)


def overhead(folder: str, options: argparse.Namespace) -> dict[str, float]:
    import jax
    import optax

    from jaxir import losses, trees
    from jaxir.config import build
    from jaxir.models import pretrained
    from jaxir.objectives import combine
    from jaxir.training.step import init_state, make_train_step

    found = pretrained.read(folder, dtype=options.dtype, param_dtype="float32", dropout=0.0)
    encoder = build(found.spec)
    objective = combine(dict(rank=dict(fn="jaxir.losses:softmax", on="listed", temperature=0.05)))
    tx = optax.adamw(2e-5)
    given = {f"encoder/{name}": np.array(leaf) for name, leaf in trees.named(found.params).items()}
    state = init_state(encoder, objective, tx, jax.random.key(0), given=given)
    step = make_train_step(encoder, objective, tx)
    batch = random_batch(options.docs, options.length, found.spec["vocab_size"])

    def train() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        metrics["loss"].block_until_ready()

    scores, labels = lists(QUERIES, CANDIDATES)
    gradient = jax.jit(
        jax.value_and_grad(lambda s, y, k: losses.pl_policy_gradient(s, y, key=k, samples=SAMPLES))
    )
    key = jax.random.key(0)
    policy = lambda: jax.block_until_ready(gradient(scores, labels, key))
    train(), policy()
    seconds = shared.interleaved({"step": train, "policy": policy}, options.repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    share = medians["policy"] / medians["step"]
    print(f"a step of {QUERIES} queries x {options.docs} documents of {options.length} tokens")
    print(
        f"  step {medians['step']:.3f} s; policy gradient of {CANDIDATES} candidates with {SAMPLES} samples"
    )
    print(f"  {1e3 * medians['policy']:.1f} ms: {100 * share:.2f}%")
    return {
        "docs": options.docs,
        "length": options.length,
        "step_seconds": round(medians["step"], 4),
        "policy_ms": round(1e3 * medians["policy"], 2),
        "step_overhead": round(share, 5),
    }


def random_batch(docs: int, length: int, words: int):
    from jaxir.types import Batch, Tokens

    rng = np.random.default_rng(0)
    tokens = lambda *shape: Tokens(
        rng.integers(1000, words, (*shape, length)).astype(np.int32), np.ones((*shape, length), bool)
    )
    labels = np.eye(1, docs, dtype=np.float32).repeat(QUERIES, axis=0)
    return Batch(tokens(QUERIES), tokens(QUERIES, docs), labels, np.ones(labels.shape, bool))


def long_lists(repeats: int) -> dict[str, float]:
    """Both forms of one estimator on lists of a thousand, and the memory of the second."""
    import jax

    from jaxir.losses.plackett_luce import sample_rankings
    from jaxir.losses.policy_gradient import estimate

    def compiled(estimator: str, n: int):
        scores, labels = lists(4, n)
        rankings = sample_rankings(jax.random.key(0), scores, SAMPLES)
        fn = jax.jit(lambda s, y, r: estimate(s, y, r, cutoff=None, estimator=estimator)[0])
        program = fn.lower(scores, labels, rankings).compile()
        memory = program.memory_analysis().temp_size_in_bytes
        return lambda: jax.block_until_ready(program(scores, labels, rankings)), memory

    runs, memory = {}, {}
    for name in ("pl_rank_2", "pl_rank_3", "integrated"):
        runs[name], memory[name, 1000] = compiled(name, 1000)
        runs[name]()
    _, memory["pl_rank_3", 2000] = compiled("pl_rank_3", 2000)
    seconds = shared.interleaved(runs, repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"4 lists of 1,000 items, {SAMPLES} samples of all places:")
    for name, value in medians.items():
        print(f"  {name:10} {1e3 * value:8.1f} ms, temporary memory {memory[name, 1000] / 2**20:7.1f} MiB")
    return {
        "pl2_ms": round(1e3 * medians["pl_rank_2"], 2),
        "pl3_ms": round(1e3 * medians["pl_rank_3"], 2),
        "integrated_ms": round(1e3 * medians["integrated"], 2),
        "pl3_over_pl2_time": round(medians["pl_rank_3"] / medians["pl_rank_2"], 5),
        "pl3_over_pl2_memory": round(memory["pl_rank_3", 1000] / memory["pl_rank_2", 1000], 5),
        "pl3_memory_ratio": round(memory["pl_rank_3", 2000] / memory["pl_rank_3", 1000], 4),
    }


if __name__ == "__main__":
    main()
