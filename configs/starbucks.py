"""Starbucks (arXiv:2410.13230): sizes from small to large, trained together and drawn to the full model.

  jaxir train --config=starbucks --workdir=runs/starbucks            on the docstrings
  jaxir train --config=starbucks:squad --workdir=runs/starbucks      on a data set under $JAXIR_DATA
  jaxir train --config=smae:squad --workdir=runs/smae                masked pre-training, and then
  jaxir train --config=starbucks:squad --config.init_from=runs/smae --workdir=runs/starbucks-smae
  jaxir evaluate --workdir=runs/starbucks --source=pydocs --grid
  jaxir export --workdir=runs/starbucks --layers=2 --dims=16 --out=exported

Six layers and six sizes, (1, 8) to (6, 96); with minilm (1, 12) to (6, 384).
More in docs/nested.md.

Variants: those of configs/matryoshka.py.
"""

from jaxir.config import load_config

SIZES = ((1, 8), (2, 16), (3, 32), (4, 48), (5, 64), (6, 96))
MINILM = ((1, 12), (2, 24), (3, 48), (4, 96), (5, 192), (6, 384))
TERMS = ((1, 16), (2, 32), (4, 64), (5, 128), (6, 256))


def get_config(variant: str = ""):
    c = load_config(f"matryoshka:{variant}")
    c.name = c.name.replace("matryoshka", "starbucks")
    asked = variant.split(",")
    if "smoke" in asked:
        sizes = ((1, 8), (2, 32)) if "sparse" not in asked else ((1, 8), (2, 16))
    elif "minilm" in asked:
        sizes = MINILM
    else:
        sizes = TERMS if "sparse" in asked else SIZES
    c.nested = dict(fn="jaxir.objectives:starbucks", sizes=sizes, kl_weight=1.0)
    return c
