"""Training steps of SPLADE in jaxir and in sentence-transformers: time, and the memory of the process.

  python benchmarks/sparse_step.py [--batch-size=32] [--length=256] [--layers=4] [--dim=384] [--steps=3]

A BERT with random weights, a head over the vocabulary whose bias leaves a few hundred entries of a text
active, and random token ids: queries of 32 and documents of --length tokens, all real. A step is forward,
backward and AdamW (2e-5, weight decay 0.01 on everything, no clipping, no dropout) for in-batch softmax over
dot products plus FLOPS of queries (5e-5) and documents (3e-5): jaxir's own training step, and SpladeLoss
around SparseMultipleNegativesRankingLoss on a SparseEncoder of a masked language model and SpladePooling.

Each runs in a process of its own that is given one step at a time, in turns, on the same cores, from the
same weights on the same batch; the first --warmup steps are not timed. Memory is the most that a process
ever held (VmHWM), everything included: libraries, weights, compilation. CPU seconds are those of all threads:
on a machine that others use too, the steadier figure. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import shared

ENGINES = ("jaxir", "sentence-transformers")
WEIGHTS = {"query": 5e-5, "doc": 3e-5}
LEARNING_RATE, DECAY = 2e-5, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=256, help="tokens of a document")
    parser.add_argument("--query-length", type=int, default=32)
    parser.add_argument("--vocab", type=int, default=30_522)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--bias", type=float, default=-1.5, help="of every entry of the vocabulary")
    parser.add_argument("--steps", type=int, default=3, help="timed steps")
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not timed")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=(*ENGINES, "weights"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    cores = shared.pin(options.cores, "cpu")
    if options.engine == "weights":
        write_model(pathlib.Path(options.folder), options)
        return
    if options.engine:
        serve({ENGINES[0]: jaxir_step, ENGINES[1]: torch_step}[options.engine](options))
        return
    with tempfile.TemporaryDirectory() as folder:
        own = lambda engine: [sys.executable, *sys.argv, f"--engine={engine}", f"--folder={folder}"]
        subprocess.run(own("weights"), check=True)
        workers = {engine: Worker(own(engine)) for engine in ENGINES}
        replies: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
        for _ in range(options.warmup + options.steps):
            for engine, worker in workers.items():
                replies[engine].append(worker.step())
        for worker in workers.values():
            worker.close()

    figures = {"benchmark": "sparse_step", **shared.machine(cores)}
    figures |= {name: getattr(options, name) for name in ("batch_size", "length", "vocab", "layers", "dim")}
    print(f"{'':<22} {'s/step':>8} {'cpu s':>8} {'peak MB':>8} {'before':>8}   losses")
    for engine, found in replies.items():
        losses = [reply["loss"] for reply in found]
        timed = found[options.warmup :]
        seconds, cpu = (statistics.median(r[name] for r in timed) for name in ("seconds", "cpu_seconds"))
        peak, before = found[-1]["peak_mb"], workers[engine].before
        shown = " ".join(f"{loss:.4f}" for loss in losses)
        print(f"{engine:<22} {seconds:>8.2f} {cpu:>8.2f} {peak:>8,.0f} {before:>8,.0f}   {shown}")
        figures[engine] = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3)}
        figures[engine] |= {"peak_mb": peak, "before_mb": before}
    ours, theirs = (replies[engine] for engine in ENGINES)
    gaps = [abs(a["loss"] - b["loss"]) / abs(b["loss"]) for a, b in zip(ours, theirs)]
    figures["active"] = ours[0]["active"]
    ratio = lambda name: round(figures[ENGINES[0]][name] / figures[ENGINES[1]][name], 4)
    figures |= {"time_ratio": ratio("seconds"), "cpu_ratio": ratio("cpu_seconds")}
    figures["memory_ratio"] = ratio("peak_mb")
    figures["loss_gap"] = float(f"{max(gaps):.2e}")
    print(json.dumps(figures))


class Worker:
    """A process that takes a step for every line that it reads."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.before = self.read()["peak_mb"]

    def step(self) -> dict[str, float]:
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, float]:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a process ended; its error stands above")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve(step: Callable[[], dict[str, float]]) -> None:
    """Answers every line of the standard input with the figures of one step."""

    def answer(**figures: float) -> None:
        status = pathlib.Path("/proc/self/status").read_text()
        peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        print(json.dumps({**figures, "peak_mb": round(int(peak) * 1024 / 1e6)}), flush=True)

    answer()
    for _ in sys.stdin:
        began, worked = time.perf_counter(), time.process_time()
        figures = step()
        took = dict(seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - worked)
        answer(**figures, **took)


def batch(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Token ids of queries [b, lq] and documents [b, ld]."""
    rng = np.random.default_rng(0)
    sizes = {"query": options.query_length, "doc": options.length}
    draw = lambda length: rng.integers(1000, options.vocab, (options.batch_size, length))
    return {side: draw(length).astype(np.int32) for side, length in sizes.items()}


def write_model(folder: pathlib.Path, options: argparse.Namespace) -> None:
    """A masked language model as transformers saves it, and a tokenizer of as many tokens."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=options.vocab,
        hidden_size=options.dim,
        num_hidden_layers=options.layers,
        num_attention_heads=options.dim // 32,
        intermediate_size=4 * options.dim,
        max_position_embeddings=max(options.length, options.query_length),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = transformers.BertForMaskedLM(config)
    torch.nn.init.constant_(model.cls.predictions.bias, options.bias)
    model.save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(f"w{i}" for i in range(options.vocab - len(special)))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def jaxir_step(options: argparse.Namespace) -> Callable[[], dict[str, float]]:
    import jax
    import jax.numpy as jnp
    import optax

    from jaxir import trees
    from jaxir.config import build
    from jaxir.models import pretrained
    from jaxir.objectives import combine
    from jaxir.training.optimizer import make_optimizer
    from jaxir.training.step import init_params, init_state, make_train_step
    from jaxir.types import Batch, Tokens

    found = pretrained.read(options.folder, sparse={}, dropout=0.0)
    encoder = build(found.spec)
    objective = combine(
        dict(
            rank=dict(fn="jaxir.losses:softmax", on="in_batch"),
            query_flops=dict(fn="jaxir.losses:flops", on="query", weight=WEIGHTS["query"]),
            doc_flops=dict(fn="jaxir.losses:flops", on="docs", weight=WEIGHTS["doc"]),
        )
    )
    adamw = dict(fn="optax:adamw", weight_decay=DECAY, mask=everything)
    shapes = jax.eval_shape(lambda k: init_params(encoder, objective, k), jax.random.key(0))
    schedule = optax.constant_schedule(LEARNING_RATE)
    tx = make_optimizer(schedule, shapes, optimizer=adamw, clip_norm=None)
    given = {f"encoder/{name}": leaf for name, leaf in trees.named(found.params).items()}
    state = init_state(encoder, objective, tx, jax.random.key(0), given=given)
    train_step = make_train_step(encoder, objective, tx)
    ids = {side: jnp.asarray(x) for side, x in batch(options).items()}
    b = options.batch_size
    tokens = lambda x: Tokens(x, jnp.ones(x.shape, bool))
    given = Batch(tokens(ids["query"]), tokens(ids["doc"][:, None]), jnp.ones((b, 1)), jnp.ones((b, 1), bool))
    few = tokens(ids["doc"][:2])
    values = jax.jit(lambda p: encoder.encode(p, few, side="doc").values)(state.params["encoder"])
    active = float(jnp.mean(jnp.sum(values > 0, axis=-1)))

    def step() -> dict[str, float]:
        nonlocal state
        state, metrics = train_step(state, given)
        return {"loss": float(metrics["loss"]), "active": active}

    return step


def everything(params):
    """Weight decay on every parameter, as torch's AdamW has it."""
    import jax

    return jax.tree.map(lambda _: True, params)


def torch_step(options: argparse.Namespace) -> Callable[[], dict[str, float]]:
    import torch
    from sentence_transformers.sparse_encoder import SparseEncoder, losses
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    torch.set_num_threads(options.cores)
    trunk = Transformer(options.folder, transformer_task="fill-mask")
    model = SparseEncoder(modules=[trunk, SpladePooling("max", "relu")], device="cpu")
    model.train()
    loss_of = losses.SpladeLoss(
        model,
        losses.SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=WEIGHTS["doc"],
        query_regularizer_weight=WEIGHTS["query"],
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    columns = [torch.tensor(x, dtype=torch.long) for x in batch(options).values()]

    def step() -> dict[str, float]:
        optimizer.zero_grad()
        features = [{"input_ids": x, "attention_mask": torch.ones_like(x)} for x in columns]
        loss = sum(loss_of(features, None).values())
        loss.backward()
        optimizer.step()
        return {"loss": float(loss.detach())}

    return step


if __name__ == "__main__":
    main()
