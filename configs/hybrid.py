"""One trunk, two representations: a dense vector and sparse weights (after HybridPQA, arXiv:2405.13173).

  jaxir train --config=hybrid:squad --workdir=runs/hybrid
  jaxir evaluate --workdir=runs/hybrid --source=beir:$JAXIR_DATA/squad-sentences    both parts and their sum

Each part has a contrastive loss of its own; their scores are added at search time.

Variants: those of configs/splade.py, without bert.
"""

from jaxir.checks import InputError
from jaxir.config import load_config


def get_config(variant: str = ""):
    if "bert" in variant.split(","):
        raise InputError("configs/hybrid.py trains from scratch: leave out bert")
    c = load_config(f"splade:{variant}")
    c.name = c.name.replace("splade", "hybrid")
    c.encoder.update(
        fn="jaxir.models.hybrid:hybrid", pooling="cls", normalize=True, top_k=min(512, c.tokenizer.vocab_size)
    )
    # Columns of [dense ; sparse]; the vocabulary may come out smaller than asked, the last column is its own.
    dense = (0, c.encoder.dim)
    sparse = (c.encoder.dim, None)
    rank = c.objective.rank.to_dict()
    c.objective.update(
        rank=dict(rank, columns=sparse),
        rank_dense=dict(rank, columns=dense, temperature=0.05),
    )
    c.objective.query_sparsity.columns = sparse
    c.objective.doc_sparsity.columns = sparse
    return c
