"""Scores (or representations) -> a number. See docs/losses.md for which reading of each is meant."""

from jaxir.losses.approx import approx_mrr, approx_ndcg
from jaxir.losses.contrastive import softmax, symmetric_softmax
from jaxir.losses.distillation import ensemble, kl_divergence, margin_mse
from jaxir.losses.dual_supervision import in_batch_margin_mse
from jaxir.losses.groco import groco
from jaxir.losses.list_mle import list_mle
from jaxir.losses.log_cosh import log_cosh
from jaxir.losses.pairwise_ranks import weighted_ranknet
from jaxir.losses.policy_gradient import pl_policy_gradient
from jaxir.losses.preferences import ranking_accuracy
from jaxir.losses.rank_transforms import approx_ranks, bound_ranks, gumbel_scores
from jaxir.losses.ranklist import ranklist
from jaxir.losses.robust import robust_softmax
from jaxir.losses.schedules import linear_ramp, quadratic_ramp
from jaxir.losses.soft_topk import soft_topk, soft_topk_loss
from jaxir.losses.sparsemax import sparsemax, sparsemax_loss
from jaxir.losses.sparsity import anti_zero, expected_flops, flops, l0_mask_flops, l1
from jaxir.losses.sparsity_by_term import df_flops, df_weight, idf_flops, idf_match_flops
from jaxir.losses.token_ranks import rank_aware_nll, token_ranks
from jaxir.losses.wasserstein import wasserstein, wasserstein_1d

__all__ = [
    "anti_zero",
    "approx_mrr",
    "approx_ndcg",
    "approx_ranks",
    "bound_ranks",
    "df_flops",
    "df_weight",
    "ensemble",
    "expected_flops",
    "flops",
    "groco",
    "gumbel_scores",
    "idf_flops",
    "idf_match_flops",
    "in_batch_margin_mse",
    "kl_divergence",
    "l0_mask_flops",
    "l1",
    "linear_ramp",
    "list_mle",
    "log_cosh",
    "margin_mse",
    "pl_policy_gradient",
    "quadratic_ramp",
    "rank_aware_nll",
    "ranking_accuracy",
    "ranklist",
    "robust_softmax",
    "soft_topk",
    "soft_topk_loss",
    "softmax",
    "sparsemax",
    "sparsemax_loss",
    "symmetric_softmax",
    "token_ranks",
    "wasserstein",
    "wasserstein_1d",
    "weighted_ranknet",
]
