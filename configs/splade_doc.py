"""SPLADE-doc: only documents are encoded; a query is the set of its tokens, so that it costs nothing.

  jaxir train --config=splade_doc:squad --workdir=runs/splade-doc
  jaxir evaluate --workdir=runs/splade-doc --source=beir:$JAXIR_DATA/squad-sentences

Variants: those of configs/splade.py.
"""

from jaxir.config import load_config


def get_config(variant: str = ""):
    c = load_config(f"splade:{variant}")
    c.name = c.name.replace("splade", "splade-doc")
    of_encoder = c.encoder if c.init_from is None else c.init_with.sparse
    of_encoder.update(query="bag")
    del c.objective.query_sparsity  # a bag has nothing to learn
    return c
