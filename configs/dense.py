"""A transformer bi-encoder trained from scratch with in-batch negatives.

  jaxir train --config=dense --workdir=runs/dense                    on the docstrings
  jaxir train --config=dense:squad --workdir=runs/squad              on a data set under $JAXIR_DATA
  jaxir train --config=dense:squad,static --workdir=runs/squad       with the static encoder

Variants: a data set by its short name (squad, nfcorpus and others of jaxir/data/named.py: folders in BEIR
layout under $JAXIR_DATA), static (token embeddings instead of a transformer), smoke (seconds).
"""

from jaxir.config import variants_of
from jaxir.data.named import FOLDERS, use_named
from jaxir.training.defaults import default_config


def get_config(variant: str = ""):
    variants = variants_of(variant, [*FOLDERS, "static", "smoke"])
    c = default_config()
    c.name = "dense"
    c.steps = 800
    c.batch_size = 128
    c.max_length = dict(query=32, doc=64)
    c.data.augment = (dict(fn="jaxir.data.augment:crop_queries", p=0.3, min_tokens=4, max_tokens=16),)
    c.tokenizer = dict(kind="wordpiece", vocab_size=16000)
    c.encoder = dict(
        fn="jaxir.models.encoder:transformer",
        layers=2,
        dim=128,
        heads=4,
        ff_dim=512,
        positions="rotary",
        norm_position="pre",
        pooling="mean",
        dropout=0.1,
    )
    c.objective.rank.update(fn="jaxir.losses:symmetric_softmax", temperature=0.05)
    c.optimizer.learning_rate = 1e-3
    c.optimizer.optimizer = dict(fn="optax:adamw", weight_decay=0.05)
    c.eval = dict(every=250, split="dev", queries=500, docs=5000, measure="MRR@10")
    c.checkpoint.every = 250
    named = use_named(c, variants)
    if named in ("nfcorpus", "scifact", "squadshifts"):
        c.max_length.doc = 128
    if "static" in variants:
        c.encoder = dict(fn="jaxir.models.static:static", dim=512)
        c.objective.rank.temperature = 0.07
        c.optimizer.optimizer = dict(fn="optax:adam")
        c.optimizer.learning_rate = 1e-2
        c.steps, c.batch_size = 600, 512
    if "smoke" in variants:
        c.steps, c.batch_size = 4, 8
        if not named:
            c.data.source = "pydocs:optax,tqdm"
        c.tokenizer.vocab_size = 500
        c.max_length = dict(query=8, doc=16)
        if "static" not in variants:
            c.encoder.update(layers=1, dim=32, heads=2, ff_dim=64)
        c.eval = dict(every=2, split="dev", queries=10, docs=30, measure="MRR@10")
        c.checkpoint.every = 2
    return c
