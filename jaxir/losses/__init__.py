"""Scores (or representations) -> a number. See docs/losses.md for which reading of each is meant."""

from jaxir.losses.contrastive import softmax, symmetric_softmax
from jaxir.losses.distillation import ensemble, kl_divergence, margin_mse
from jaxir.losses.schedules import linear_ramp, quadratic_ramp
from jaxir.losses.sparsemax import sparsemax, sparsemax_loss
from jaxir.losses.sparsity import anti_zero, expected_flops, flops, l0_mask_flops, l1
from jaxir.losses.sparsity_by_term import df_flops, df_weight, idf_flops, idf_match_flops

__all__ = [
    "anti_zero",
    "df_flops",
    "df_weight",
    "ensemble",
    "expected_flops",
    "flops",
    "idf_flops",
    "idf_match_flops",
    "kl_divergence",
    "l0_mask_flops",
    "l1",
    "linear_ramp",
    "margin_mse",
    "quadratic_ramp",
    "softmax",
    "sparsemax",
    "sparsemax_loss",
    "symmetric_softmax",
]
