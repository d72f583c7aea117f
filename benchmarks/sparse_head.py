"""Memory and time of SPLADE's head with its gradients: all logits at once, and tiles of the vocabulary.

  python benchmarks/sparse_head.py [--batch-size=32] [--length=256] [--repeats=3] [--cores=2] [--tile=1024]
  python benchmarks/sparse_head.py --device=gpu --dtype=bfloat16

max over positions of log1p(relu(hidden table^T + bias)) and its gradients to hidden states, table and bias.
The naive head makes the array [batch, length, vocabulary]. Memory is what the compiled program needs beside
its arguments and results (``compiled.memory_analysis()``). Time is measured in turns, once with random
weights, with which nearly every entry of the vocabulary is active in every text, and once with a bias that
leaves --active of them, as in a trained model; ``time_ratio`` is that of the first, slower case. Errors are
relative to the largest entry of the naive head's value or gradient. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics

import shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=30_522)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--active", type=int, default=200, help="active entries of a text in the second case")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    cores = shared.pin(options.cores, options.device)

    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxir.models.fused_max import max_logits

    n, l, v, d = options.batch_size, options.length, options.vocab, options.dim
    figures = {"benchmark": "sparse_head", **shared.machine(cores), "dtype": options.dtype}
    figures |= {"batch_size": n, "length": l, "vocab": v, "dim": d, "tile": options.tile}

    def naive(hidden, mask, table, bias):
        product = dict(preferred_element_type=jnp.float32)
        logits = jnp.einsum("nld,vd->nlv", hidden, table.astype(hidden.dtype), **product) + bias
        return jnp.max(jnp.log1p(jax.nn.relu(logits)) * mask[..., None], axis=1)

    def fused(hidden, mask, table, bias):
        return jnp.log1p(jax.nn.relu(max_logits(hidden, mask, table, bias, tile=options.tile)))

    def both_ways(head):
        def loss(floats, mask, slopes):
            hidden, table, bias = floats
            values = head(hidden, mask, table, bias)
            return jnp.sum(values * slopes), values

        return jax.jit(jax.value_and_grad(loss, has_aux=True))

    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    hidden, table = normal(n, l, d).astype(options.dtype), normal(v, d) / d**0.5
    lengths = rng.integers(l // 2, l + 1, (n, 1))
    mask, slopes = jnp.arange(l) < lengths, normal(n, v)
    top = np.sort(jax.jit(max_logits)(hidden, mask, table, None), axis=1)
    cases = {"dense": 0.0, "sparse": -float(top[:, -options.active].mean())}

    floats = (hidden, table, jnp.zeros(v))
    programs = {
        name: both_ways(head).lower(floats, mask, slopes).compile()
        for name, head in (("naive", naive), ("fused", fused))
    }
    memory = {name: p.memory_analysis().temp_size_in_bytes for name, p in programs.items()}
    figures["memory_mb"] = {name: round(bytes_ / 1e6, 1) for name, bytes_ in memory.items()}
    figures["memory_ratio"] = round(memory["fused"] / memory["naive"], 4)

    print(f"temporary memory, MB: naive {memory['naive'] / 1e6:,.1f}, fused {memory['fused'] / 1e6:,.1f}\n")
    print(f"{'':<8}{'active':>9}{'naive s':>9}{'fused s':>9}{'ratio':>7}{'error':>10}")
    errors = []
    for case, bias in cases.items():
        arguments = ((hidden, table, jnp.full(v, bias)), mask, slopes)
        run = lambda name, given=arguments: jax.block_until_ready(programs[name](*given))
        found, expected = ((values, *slopes) for (_, values), slopes in map(run, ("fused", "naive")))
        active = float(jnp.mean(jnp.sum(found[0] > 0, axis=1)))
        gaps = [float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(found, expected)]
        del found, expected
        seconds = shared.interleaved(
            {name: lambda name=name, run=run: run(name) for name in programs}, options.repeats
        )
        slow, fast = (statistics.median(seconds[name]) for name in ("naive", "fused"))
        print(f"{case:<8}{active:>9,.0f}{slow:>9.2f}{fast:>9.2f}{fast / slow:>7.3f}{max(gaps):>10.1e}")
        errors.append(gaps)
        figures[case] = {
            "active": round(active, 1),
            "naive_seconds": round(slow, 3),
            "fused_seconds": round(fast, 3),
            "time_ratio": round(fast / slow, 4),
        }
    figures["time_ratio"] = figures["dense"]["time_ratio"]
    figures["sparse_time_ratio"] = figures["sparse"]["time_ratio"]
    figures["max_value_error"] = max(gaps[0] for gaps in errors)
    figures["max_grad_error"] = max(max(gaps[1:]) for gaps in errors)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
