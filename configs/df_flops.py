"""DF-FLOPS (arXiv:2505.15070): terms that stand in many documents are taxed most, for short posting lists.

  jaxir train --config=df_flops:squad --workdir=runs/df-flops

Document frequencies are a running average over the batches of the run, kept in its checkpoints.

Variants: those of configs/splade_doc.py.
"""

from jaxir.config import load_config


def get_config(variant: str = ""):
    c = load_config(f"splade_doc:{variant}")
    c.name = c.name.replace("splade-doc", "df-flops")
    c.objective.doc_sparsity.update(
        fn="jaxir.losses:df_flops",
        alpha=0.1,  # the share of documents from which on a term counts as frequent
        beta=10.0,
        memory=dict(fn="jaxir.objectives:running_df", decay=0.99),
    )
    return c
