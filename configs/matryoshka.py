"""One training run, a family of models: Matryoshka representations.

  jaxir train --config=matryoshka --workdir=runs/nested              on the docstrings, six widths
  jaxir train --config=matryoshka:squad,2d --workdir=runs/2d         a layer and a width drawn at each step
  jaxir train --config=matryoshka:squad,sparse --workdir=runs/terms  a sparse encoder, by active terms
  jaxir train --config=matryoshka:squad,minilm --workdir=runs/minilm from published weights
  jaxir evaluate --workdir=runs/nested --source=pydocs --grid
  jaxir export --workdir=runs/nested --dims=32 --out=exported

The same with a list of (layers, dimensions) is configs/starbucks.py. More in docs/nested.md.

Variants: a data set by its short name (squad, nfcorpus and others of jaxir/data/named.py: folders in BEIR
layout under $JAXIR_DATA); 2d; layers (every second layer at full width, no smaller widths); sparse; static
(token embeddings); minilm (start from all-MiniLM-L6-v2); smoke (seconds).
"""

from jaxir.config import load_config

OWN = ("2d", "layers", "sparse", "minilm")
DIMS = (8, 16, 32, 64, 96)


def get_config(variant: str = ""):
    asked = [v for v in variant.split(",") if v]
    rest = [v for v in asked if v not in OWN]
    smoke = "smoke" in rest
    c = load_config(f"{'splade' if 'sparse' in asked else 'dense'}:{','.join(rest)}")
    c.name = c.name.replace("dense", "matryoshka").replace("splade", "matryoshka-sparse")
    depth = 2 if smoke else 6
    dims = (4, 8, 16, 32) if smoke else DIMS
    if "minilm" in asked:
        c.init_from = "sentence-transformers/all-MiniLM-L6-v2"
        c.optimizer.learning_rate = 2e-5
        c.batch_size = 32
        dims = (12, 24, 48, 96, 192, 384)
    elif "sparse" in asked:
        c.encoder.layers = depth
        dims = (4, 8, 16) if smoke else (16, 32, 64, 128, 256)
    elif "static" in asked:
        dims = (32, 64, 128, 256, 512)
    else:
        c.encoder.update(layers=depth, dim=dims[-1], ff_dim=4 * dims[-1])
    every = tuple(range(2, depth + 1, 2))
    if "2d" in asked:
        # The divergence is between vectors as logits, which weights of terms are not.
        kl = dict(kl_weight=0.0) if "sparse" in asked else {}
        c.nested = dict(fn="jaxir.objectives:matryoshka_2d", dims=dims, **kl)
    elif "layers" in asked:
        c.nested = dict(
            fn="jaxir.objectives:starbucks", sizes=tuple((n, dims[-1]) for n in every), kl_weight=0.0
        )
    else:
        c.nested = dict(fn="jaxir.objectives:matryoshka", dims=dims)
    return c
