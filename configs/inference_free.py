"""Inference-free sparse retrieval: a query's tokens weigh their inverse document frequencies.

  jaxir train --config=inference_free:squad --workdir=runs/inference-free
  jaxir train --config=inference_free:squad,learned --workdir=runs/li-lsr   the table of weights is trained
  jaxir score --model=runs/dense --model=runs/splade --source=beir:$JAXIR_DATA/squad-sentences \\
    --split=train --workdir=runs/scores --out=teacher.jsonl
  jaxir train --config=inference_free:squad,distilled --config.data.negatives_file=teacher.jsonl \\
    --workdir=runs/distilled

IDF is counted on the run's documents, or --config.idf names a file of jaxir prepare --idf. distilled learns
from the mean of its teachers' scores, each scaled to 0..30 per query (arXiv:2411.04403).

Variants: those of configs/splade.py, and learned.
"""

from jaxir.config import load_config


def get_config(variant: str = ""):
    rest = [v for v in variant.split(",") if v != "learned"]
    c = load_config(f"splade_doc:{','.join(rest)}")
    c.name = c.name.replace("splade-doc", "inference-free")
    of_encoder = c.encoder if c.init_from is None else c.init_with.sparse
    of_encoder.update(query="table")
    if "learned" not in variant.split(","):
        c.optimizer.frozen = ("query_weights$",)
    if "distilled" in rest:
        c.objective.distil = dict(
            fn="jaxir.losses:kl_divergence", on="listed", weight=1.0, ensemble=dict(scale=30.0)
        )
    return c
