"""l0-inspired sparsification of inference-free retrieval (arXiv:2504.14839): spare what is sparse already.

  jaxir train --config=l0:squad --workdir=runs/l0                  mask and activation
  jaxir train --config=l0:squad,mask --workdir=runs/l0-mask        FLOPS of documents with many terms
  jaxir train --config=l0:squad,activation --workdir=runs/l0-act   log(1 + log(1 + relu)), flatter weights

objective.doc_sparsity.threshold is the number of active terms that a document may have for free.

Variants: mask, activation (one of them alone), and those of configs/inference_free.py.
"""

from jaxir.config import load_config

OWN = ("mask", "activation")


def get_config(variant: str = ""):
    asked = variant.split(",")
    c = load_config(f"inference_free:{','.join(v for v in asked if v not in OWN)}")
    c.name = c.name.replace("inference-free", "l0")
    of_encoder = c.encoder if c.init_from is None else c.init_with.sparse
    if "mask" not in asked:
        of_encoder.update(activation="l0")
    if "activation" not in asked:
        c.objective.doc_sparsity.update(fn="jaxir.losses:l0_mask_flops", threshold=150)
    return c
