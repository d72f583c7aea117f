"""Contrastive training steps of jaxir and of sentence-transformers' trainer, side by side.

  JAXIR_DATA=... python benchmarks/train_step.py [--steps=40] [--batch-size=32] [--cores=2]
  JAXIR_DATA=... python benchmarks/train_step.py --device=gpu --dtype=bfloat16 --batch-size=512 --packed=yes

Question -> paragraph pairs of natural length (squadshifts, each paragraph once, 256 tokens at most) train
all-MiniLM-L6-v2 with in-batch negatives (cosine / 0.05): the same weights, the same pairs in the same
order, no dropout, AdamW (2e-5, constant, weight decay 0.01 but for biases and norms), gradients clipped
at norm 1. jaxir runs its own feed and training step; sentence-transformers its SentenceTransformerTrainer
with MultipleNegativesRankingLoss. They take turns step by step in one process, on the same cores. A step's
time includes its data. Steps in which jaxir compiles are counted apart, and so are the first --warmup.
The peer needs the packages accelerate and datasets. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import statistics
import tempfile
import time

import numpy as np
import shared

COMPARED = 20  # steps whose losses are compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a folder of sentence-transformers; default: the packaged MiniLM")
    parser.add_argument("--data", help="the folder that holds squadshifts/; default: JAXIR_DATA")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=3, help="steps of both that are not timed")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=256, help="tokens of a text at most")
    parser.add_argument("--packed", choices=("auto", "yes", "no"), default="auto")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    cores = shared.pin(options.cores, options.device)
    figures = {"benchmark": "train_step", **shared.machine(cores), "dtype": options.dtype}
    figures["batch_size"] = options.batch_size

    folder = options.model or shared.minilm()
    with tempfile.TemporaryDirectory() as scratch:
        ours = Ours(folder, options, pathlib.Path(scratch))
        peer = shared.peer(folder, options.device)
        if peer is None:
            for _ in range(options.steps):
                ours.step()
            theirs = None
        else:
            theirs = train_theirs(peer, ours, options, scratch)

    timed = [i for i in range(options.warmup, options.steps) if not ours.compiled[i]]
    if not timed:
        raise SystemExit("every step compiled something: give more --steps")
    pairs = options.batch_size
    print(f"{'':<22} {'pairs/s':>8} {'ms/step':>8}   losses")
    for name, run in (("jaxir", ours), ("sentence-transformers", theirs)):
        if run is not None:
            median = statistics.median(run.seconds[i] for i in timed)
            losses = " ".join(f"{loss:.4f}" for loss in run.losses[:5])
            print(f"{name:<22} {pairs / median:>8.2f} {1e3 * median:>8,.0f}   {losses} ...")
            figures[name] = {"pairs_per_second": round(pairs / median, 3), "median_seconds": round(median, 4)}
    figures |= {
        "steps": len(timed),
        "packed": ours.packed,
        "padding_waste": round(1 - ours.tokens / ours.slots, 4),
        "programs": sum(ours.compiled),
        "compile_seconds": round(sum(t for t, c in zip(ours.seconds, ours.compiled) if c), 1),
    }
    if options.device != "cpu":
        ceiling = shared.matmul_ceiling(options.dtype)
        work = statistics.median(3 * ours.flops[i] / ours.seconds[i] for i in timed)
        figures |= {"matmul_tflops": round(ceiling / 1e12, 1), "utilisation": round(work / ceiling, 4)}
    if theirs is not None:
        gaps = [abs(a - b) for a, b in zip(ours.losses[:COMPARED], theirs.losses[:COMPARED])]
        figures["their_padding_waste"] = round(1 - ours.tokens / theirs.slots, 4)
        figures["max_loss_gap"] = round(max(gaps), 6)
        medians = [statistics.median(run.seconds[i] for i in timed) for run in (theirs, ours)]
        figures["ratio"] = round(medians[0] / medians[1], 3)
    print(json.dumps(figures))


def pairs_of(folder: pathlib.Path):
    """A source of (question, paragraph): one question for each paragraph that has one in the train split."""
    from jaxir.types import Doc, Qrel, Query, Source

    texts = {line["_id"]: line["text"] for line in shared.lines(folder / "corpus.jsonl")}
    asked = {line["_id"]: line["text"] for line in shared.lines(folder / "queries.jsonl")}
    judged = [line.split("\t") for line in (folder / "qrels/train.tsv").read_text().splitlines()[1:]]
    chosen = {texts[doc]: (query, doc) for query, doc, *_ in judged}  # a paragraph may have several ids
    numbered = [(str(i), *pair) for i, pair in enumerate(chosen.values())]
    queries = [Query(i, asked[query]) for i, query, _ in numbered]
    docs = [Doc(i, "", texts[doc]) for i, _, doc in numbered]
    qrels = [Qrel(i, i, 1) for i, *_ in numbered]
    return Source("squadshifts-pairs", docs, {"train": queries}, {"train": qrels})


class Ours:
    """jaxir's training, one step at a time."""

    def __init__(self, folder: str, options: argparse.Namespace, scratch: pathlib.Path) -> None:
        import jax
        import optax

        from jaxir import trees
        from jaxir.config import build
        from jaxir.data.feed import feed
        from jaxir.data.prepare import prepare
        from jaxir.models import pretrained
        from jaxir.objectives import combine
        from jaxir.training.build import packed_groups
        from jaxir.training.defaults import default_config
        from jaxir.training.optimizer import make_optimizer
        from jaxir.training.step import init_params, init_state, make_train_step

        found = pretrained.read(folder, dtype=options.dtype, param_dtype="float32", dropout=0.0)
        self.spec, encoder = found.spec, build(found.spec)
        config = default_config()
        config.data.packed = {"auto": None, "yes": True, "no": False}[options.packed]
        groups = packed_groups(config, encoder, devices=1)
        self.source = pairs_of(shared.squadshifts(options.data))
        self.feed = feed(
            prepare(self.source, scratch / "pairs", progress=False),
            found.tokenizer,
            batch_size=options.batch_size,
            max_length={"query": options.length, "doc": options.length},
            packed=groups,
        )
        rank = dict(fn="jaxir.losses:softmax", on="in_batch", temperature=0.05)
        objective = combine(dict(rank=rank))
        adamw = dict(fn="optax:adamw", weight_decay=0.01, mask=decays)
        shapes = jax.eval_shape(lambda k: init_params(encoder, objective, k), jax.random.key(0))
        tx = make_optimizer(optax.constant_schedule(2e-5), shapes, optimizer=adamw, clip_norm=1.0)
        given = {f"encoder/{name}": leaf for name, leaf in trees.named(found.params).items()}
        self.state = init_state(encoder, objective, tx, jax.random.key(0), given=given)
        self.train_step = make_train_step(encoder, objective, tx)
        self.seconds, self.losses, self.compiled, self.flops = [], [], [], []
        self.packed, self.tokens, self.slots = bool(groups), 0, 0

    def step(self) -> None:
        programs = self.train_step._cache_size()
        began = time.perf_counter()
        batch = self.feed[len(self.seconds)]
        self.state, metrics = self.train_step(self.state, batch)
        self.losses.append(float(metrics["loss"]))
        self.seconds.append(time.perf_counter() - began)
        self.compiled.append(self.train_step._cache_size() > programs)
        sides = (batch.query, batch.docs)
        lengths = np.concatenate([side.mask.sum(-1).ravel() for side in sides])
        self.flops.append(shared.trunk_flops(self.spec, lengths))
        self.tokens += int(lengths.sum())
        self.slots += sum((side.mask if side.packed is None else side.packed).size for side in sides)

    def texts(self, step: int) -> list[tuple[str, str]]:
        batch = self.feed[step]
        queries, docs = self.source.queries["train"], self.source.docs
        return [(queries[q].text, docs[d].text) for q, d in zip(batch.query_id, batch.doc_id[:, 0])]


def decays(params):
    """Weight decay for all but biases and norms, as in sentence-transformers' trainer."""
    import jax

    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return jax.tree_util.tree_map_with_path(lambda p, _: not re.search("bias|norm", name(p)), params)


def train_theirs(model, ours: Ours, options: argparse.Namespace, scratch: str):
    """Runs their trainer; after each of its steps, ours takes one."""
    import datasets
    import torch
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    class InOrder(DefaultBatchSampler):
        def __init__(self, dataset, **options):
            options = {k: v for k, v in options.items() if k in ("batch_size", "drop_last")}
            super().__init__(torch.utils.data.SequentialSampler(dataset), **options)

    class InTurns(TrainerCallback):
        def __init__(self):
            self.seconds, self.losses, self.slots = [], [], 0

        def on_train_begin(self, *args, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            if options.device == "gpu":
                torch.cuda.synchronize()
            self.seconds.append(time.perf_counter() - self.began)
            ours.step()
            self.began = time.perf_counter()

        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in (logs or {}):
                self.losses.append(logs["loss"])

    model.max_seq_length = options.length
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    texts = [pair for step in range(options.steps) for pair in ours.texts(step)]
    data = datasets.Dataset.from_dict(dict(zip(("anchor", "positive"), map(list, zip(*texts)))))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=scratch,
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=2e-5,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        max_grad_norm=1.0,
        batch_sampler=InOrder,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=options.device == "cpu",
        bf16=options.dtype == "bfloat16",
    )
    turns = InTurns()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        loss=MultipleNegativesRankingLoss(model, scale=20.0),
        callbacks=[turns],
    )
    trainer.train()
    for start in range(0, len(texts), options.batch_size):
        for side in zip(*texts[start : start + options.batch_size]):
            turns.slots += model.tokenize(list(side))["input_ids"].numel()
    return turns


if __name__ == "__main__":
    main()
