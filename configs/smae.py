"""Masked pre-training of an encoder at several sizes (SMAE, arXiv:2410.13230): documents alone, no pairs.

  jaxir train --config=smae --workdir=runs/smae                      from scratch, on the docstrings
  jaxir train --config=smae:squad --workdir=runs/smae                on the documents of a data set, then
  jaxir train --config=starbucks:squad --config.init_from=runs/smae --workdir=runs/starbucks
  jaxir train --config=smae:squad,mlm --workdir=runs/mlm             plain masked language modelling
  jaxir train --config=smae:squad,minilm --workdir=runs/smae         from published weights

What it leaves is read as a dense encoder by all commands and by init_from; a sparse one, by init_with.sparse,
keeps the head over the vocabulary as well. The sizes are those of configs/starbucks.py. The loss is in nats
per hidden token; there is no retrieval to measure meanwhile.

Variants: a data set by its short name (squad, nfcorpus and others of jaxir/data/named.py: folders in BEIR
layout under $JAXIR_DATA, of which only the corpus is needed); minilm, bert (start from published weights);
mlm (one size, no decoder); smoke (seconds).
"""

from jaxir.config import load_config, variants_of
from jaxir.data.named import FOLDERS

SIZES = ((1, 8), (2, 16), (3, 32), (4, 48), (5, 64), (6, 96))
MINILM = ((1, 12), (2, 24), (3, 48), (4, 96), (5, 192), (6, 384))
BERT = ((2, 32), (4, 64), (6, 128), (8, 256), (10, 512), (12, 768))


def get_config(variant: str = ""):
    variants = variants_of(variant, [*FOLDERS, "minilm", "bert", "mlm", "smoke"])
    c = load_config(f"dense:{','.join(v for v in variants if v in (*FOLDERS, 'smoke'))}")
    c.name = c.name.replace("dense", "smae")
    smoke = "smoke" in variants
    how = dict(mask=0.2, decoder_mask=0.4, pooling="mean")
    if "minilm" in variants:
        how.update(sizes=MINILM)
        c.init_from = "sentence-transformers/all-MiniLM-L6-v2"
    elif "bert" in variants:
        how.update(sizes=BERT, pooling="cls")
        c.init_from = "google-bert/bert-base-uncased"
    else:
        how.update(sizes=((1, 8), (2, 32)) if smoke else SIZES)
    if "mlm" in variants:
        how.update(sizes=None, decoder=False)
    if c.init_from:
        c.init_with.update(pretraining=how, dropout=0.1)
        c.optimizer.learning_rate = 1e-4
    else:
        c.encoder.update(fn="jaxir.models.smae:masked_language_model", layers=2 if smoke else 6, **how)
        if not smoke:
            c.encoder.update(dim=96, ff_dim=384)
    c.data.pairs = "documents"
    c.data.augment = ()
    c.objective = dict(tokens=dict(fn="jaxir.objectives.pretraining:token_loss", on="docs"))
    if not smoke:
        c.steps, c.batch_size = 4000, 64
    c.optimizer.warmup = 0.05
    c.optimizer.optimizer.weight_decay = 0.001
    c.eval.every = 0
    c.checkpoint.every = 2 if smoke else 1000
    return c
