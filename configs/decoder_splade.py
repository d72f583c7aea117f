"""SPLADE of a causal language model (after Mistral-SPLADE, arXiv:2408.11119): each text is read twice.

  jaxir train --config=decoder_splade:medquad --workdir=runs/decoder
  jaxir train --config=decoder_splade:medquad --config.init_from=models/my-decoder --workdir=runs/decoder

In the second copy every token has seen the whole text; its logits are pooled. Low-rank adapters train, the
weights stay as they are.

Variants: a data set, sum, distilled (configs/splade.py); smoke (seconds, a tiny decoder from scratch).
"""

from jaxir.config import load_config


def get_config(variant: str = ""):
    c = load_config(f"splade:{variant}")
    c.name = c.name.replace("splade", "decoder-splade")
    if "smoke" in variant.split(","):
        c.encoder.update(causal=True, echo=True)
        return c
    sparse = dict(echo=True, blocked_ids=("special",), head=dict(transform=False, bias=False))
    c.init_from = "Qwen/Qwen2.5-0.5B"
    c.init_with.update(sparse=sparse, dtype="bfloat16", remat="full")
    c.lora.update(rank=16, alpha=32.0, targets="(attention|ffn)/.*/kernel", dropout=0.05)
    c.checkpoint.trained_only = True
    c.optimizer.learning_rate = 1e-4
    c.batch_size = 32
    return c
