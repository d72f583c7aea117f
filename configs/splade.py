"""Learned sparse retrieval: SPLADE, trained with in-batch negatives and FLOPS regularisers.

  jaxir train --config=splade --workdir=runs/splade                  from scratch, on the docstrings
  jaxir train --config=splade:squad --workdir=runs/splade            on a data set under $JAXIR_DATA
  jaxir train --config=splade:medquad,bert --workdir=runs/splade     from DistilBERT's masked language model
  jaxir train --config=splade:squad,distilled --config.data.negatives_file=teacher.jsonl \\
    --workdir=runs/distilled
  jaxir evaluate --workdir=runs/splade --source=beir:$JAXIR_DATA/squad-sentences
  jaxir explain --workdir=runs/splade --text="who wrote the first compiler"

The weights of the regularisers, objective.query_sparsity.weight.peak and objective.doc_sparsity.weight.peak,
choose between quality and cost; jaxir frontier draws it. More in docs/sparse.md.

Variants: a data set by its short name (squad, nfcorpus and others of jaxir/data/named.py: folders in BEIR
layout under $JAXIR_DATA); bert (start from published weights); sum (the pooling of the first SPLADE);
distilled (learn from a teacher's scores as well, which jaxir score writes); smoke (seconds).
"""

from jaxir.config import variants_of
from jaxir.data.named import FOLDERS, use_named
from jaxir.training.defaults import default_config


def get_config(variant: str = ""):
    variants = variants_of(variant, [*FOLDERS, "bert", "sum", "distilled", "smoke"])
    c = default_config()
    c.name = "splade"
    c.steps = 500
    c.batch_size = 64
    c.max_length = dict(query=24, doc=64)
    c.data.augment = (dict(fn="jaxir.data.augment:crop_queries", p=0.3, min_tokens=4, max_tokens=16),)
    c.tokenizer.vocab_size = 8000
    sparse = dict(fn="jaxir.models.sparse:splade", blocked_ids=("special",))
    c.encoder = dict(
        **sparse,
        layers=2,
        dim=128,
        heads=4,
        ff_dim=512,
        positions="rotary",
        norm_position="pre",
        # Logits by the token embedding itself, most of them below 0: a text begins as its own words.
        head=dict(transform=False, bias_init=-0.6),
        dropout=0.1,
    )
    c.optimizer.learning_rate = 1e-3
    c.eval = dict(every=250, split="dev", queries=500, docs=5000, measure="MRR@10")
    c.checkpoint.every = 250
    named = use_named(c, variants)
    if named in ("medquad", "squadshifts", "nfcorpus", "scifact"):
        c.max_length.doc = 128
    if "bert" in variants:
        c.init_from = "distilbert/distilbert-base-uncased"
        c.init_with.update(sparse=dict(blocked_ids=("special",)), dropout=0.1)
        c.steps, c.batch_size = 5000, 128
        c.max_length.doc = 256
        c.optimizer.learning_rate = 2e-5
    if "smoke" in variants:
        c.steps, c.batch_size = 4, 8
        if not named:
            c.data.source = "pydocs:optax,tqdm"
        c.tokenizer.vocab_size = 500
        c.max_length = dict(query=8, doc=16)
        c.encoder.update(layers=1, dim=32, heads=2, ff_dim=64)
        c.eval = dict(every=2, split="dev", queries=10, docs=30, measure="MRR@10")
        c.checkpoint.every = 2
    if "sum" in variants:
        (c.init_with.sparse if "bert" in variants else c.encoder).update(pooling="sum")
    ramp = dict(fn="jaxir.losses:quadratic_ramp", steps=c.steps // 3)
    flops = dict(fn="jaxir.losses:flops")
    c.objective.rank.temperature = 1.0  # scores of sparse vectors are sums of weights
    c.objective.update(
        query_sparsity=dict(**flops, on="query", weight=dict(**ramp, peak=3e-3)),
        doc_sparsity=dict(**flops, on="docs", weight=dict(**ramp, peak=1e-3)),
    )
    if "distilled" in variants:
        c.data.listed = 7
        c.objective.update(distil=dict(fn="jaxir.losses:margin_mse", on="listed", weight=0.05))
    return c
