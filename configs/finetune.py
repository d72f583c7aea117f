"""Fine-tunes published weights with in-batch negatives.

  jaxir train --config=finetune:squad --workdir=runs/finetune        all-MiniLM-L6-v2 on a data set
  jaxir train --config=finetune:scifact,lora --workdir=runs/lora     by low-rank adapters
  jaxir train --config=finetune:squad --config.init_from=models/mine --workdir=runs/mine
  jaxir evaluate --workdir=runs/finetune --source=beir:$JAXIR_DATA/squad-sentences
  jaxir export --workdir=runs/finetune --to=sentence-transformers --out=exported

init_from takes a folder, a name of the Hugging Face Hub or a work directory of jaxir train. More in
docs/pretrained.md: freezing, learning rates by layer, adapters, bfloat16, merging.

Variants: a data set by its short name (squad, nfcorpus and others of jaxir/data/named.py: folders in BEIR
layout under $JAXIR_DATA; without one, the docstrings of the installed packages), lora, smoke (seconds).
"""

from jaxir.config import variants_of
from jaxir.data.named import FOLDERS, SENTENCES, use_named
from jaxir.training.defaults import default_config


def get_config(variant: str = ""):
    variants = variants_of(variant, [*FOLDERS, "lora", "smoke"])
    c = default_config()
    c.name = "finetune"
    c.init_from = "sentence-transformers/all-MiniLM-L6-v2"
    c.init_with.dropout = 0.1
    c.steps = 1000
    c.batch_size = 32
    c.data.doc_text = "title+text"
    c.max_length = dict(query=64, doc=256)
    # The temperature that these models were trained with (a scale of 20).
    c.objective.rank.update(fn="jaxir.losses:symmetric_softmax", temperature=0.05)
    c.optimizer.learning_rate = 2e-5
    c.optimizer.warmup = 0.1
    c.optimizer.decay = "linear"
    c.eval = dict(every=250, split="dev", queries=300, docs=3000, measure="MRR@10")
    c.checkpoint.every = 250
    named = use_named(c, variants)
    if named in SENTENCES:
        c.max_length.doc = 96
    if "lora" in variants:
        c.lora.update(rank=16, alpha=32.0, targets="attention/(query|key|value|out)/kernel", dropout=0.05)
        c.init_with.dropout = 0.0
        c.optimizer.learning_rate = 5e-4
        c.checkpoint.trained_only = True
    if "smoke" in variants:
        c.steps, c.batch_size = 4, 8
        if not named:
            c.data.source = "pydocs:optax,tqdm"
        c.max_length = dict(query=8, doc=16)
        c.lora.rank = min(c.lora.rank, 2)
        c.eval = dict(every=2, split="dev", queries=10, docs=30, measure="MRR@10")
        c.checkpoint.every = 2
    return c
