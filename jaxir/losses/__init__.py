"""Scores (or representations) -> a number. See docs/losses.md for which reading of each is meant."""

from jaxir.losses.contrastive import softmax, symmetric_softmax
from jaxir.losses.distillation import kl_divergence, margin_mse
from jaxir.losses.schedules import linear_ramp, quadratic_ramp
from jaxir.losses.sparsity import flops, l1

__all__ = [
    "flops",
    "kl_divergence",
    "l1",
    "linear_ramp",
    "margin_mse",
    "quadratic_ramp",
    "softmax",
    "symmetric_softmax",
]
