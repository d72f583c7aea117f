"""Learned sparse retrieval: SPLADE, trained with in-batch negatives and FLOPS regularisers.

  jaxir train --config=splade --workdir=runs/splade                       from scratch, on the docstrings
  jaxir train --config=splade:squad --workdir=runs/splade                 on a data set under $JAXIR_DATA
  jaxir train --config=splade:medquad,bert --workdir=runs/splade          from DistilBERT's masked language model
  jaxir train --config=splade:squad,distilled --config.data.negatives_file=teacher.jsonl --workdir=runs/splade
  jaxir evaluate --workdir=runs/splade --source=beir:$JAXIR_DATA/squad-sentences
  jaxir explain --workdir=runs/splade --text="who wrote the first compiler"

The weights of the regularisers, objective.query_flops.weight.peak and objective.doc_flops.weight.peak, choose
between quality and cost; jaxir frontier draws it. More in docs/sparse.md.

Variants: a data set (squad, squadshifts, medquad, nfcorpus, scifact: folders in BEIR layout under $JAXIR_DATA);
bert (start from published weights, with the sizes of the paper); sum (pooling of the first SPLADE);
distilled (also margins of a teacher's scores, which jaxir score writes); smoke (seconds).
"""

import os

from jaxir.config import variants_of
from jaxir.training.defaults import default_config

FOLDERS = {
    "squad": "squad-sentences",
    "squadshifts": "squadshifts",
    "medquad": "medquad",
    "nfcorpus": "nfcorpus",
    "scifact": "scifact",
}


def get_config(variant: str = ""):
    variants = variants_of(variant, [*FOLDERS, "bert", "sum", "distilled", "smoke"])
    c = default_config()
    c.name = "splade"
    c.steps = 600
    c.batch_size = 64
    c.max_length = dict(query=32, doc=64)
    c.data.augment = (dict(fn="jaxir.data.augment:crop_queries", p=0.3, min_tokens=4, max_tokens=16),)
    c.tokenizer = dict(kind="wordpiece", vocab_size=8000)
    c.encoder = dict(
        fn="jaxir.models.sparse:splade",
        layers=2,
        dim=128,
        heads=4,
        ff_dim=512,
        positions="rotary",
        norm_position="pre",
        # Logits by the token embedding itself, most of them below 0: a text begins as its own words.
        head=dict(transform=False, bias_init=-0.7),
        dropout=0.1,
    )
    ramp = dict(fn="jaxir.losses:quadratic_ramp", steps=c.steps // 3)
    c.objective = dict(
        rank=dict(c.objective.rank, fn="jaxir.losses:softmax", temperature=1.0),
        query_flops=dict(fn="jaxir.losses:flops", on="query", weight=dict(ramp, peak=3e-3)),
        doc_flops=dict(fn="jaxir.losses:flops", on="docs", weight=dict(ramp, peak=1e-3)),
    )
    c.optimizer.learning_rate = 1e-3
    c.optimizer.optimizer = dict(fn="optax:adamw", weight_decay=0.01)
    c.eval = dict(every=200, split="dev", queries=500, docs=5000, measure="MRR@10")
    c.checkpoint.every = 200
    for name, folder in FOLDERS.items():
        if name in variants:
            c.data.source = f"beir:{os.path.join(os.environ.get('JAXIR_DATA', 'data'), folder)}"
            c.name = f"splade-{name}"
    return c
