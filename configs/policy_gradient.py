"""Second-stage ranking by the policy gradient: a trained encoder goes on, on what its rankings are worth.

  jaxir train --config=dense:nfcorpus --workdir=runs/warm             any trained model is a warm start
  jaxir train --config=policy_gradient:nfcorpus --config.init_from=runs/warm --workdir=runs/pg
  jaxir mine --bm25 --source=beir:$JAXIR_DATA/wikiqa --workdir=runs/warm --out=mined.jsonl
  jaxir train --config=policy_gradient:wikiqa --config.init_from=runs/warm \\
    --config.data.negatives_files='("judged", "mined.jsonl")' --workdir=runs/pg-wikiqa

Each query has a list of candidates, its judged documents with their grades and others; 16 rankings of the
list are drawn from the Plackett-Luce policy of its scores, and nDCG@10 of each says what its choices were
worth. A random start learns nothing this way: hardly a ranking is worth more than another.

Variants: a data set by its short name (squad, nfcorpus and others of jaxir/data/named.py: folders in BEIR
layout under $JAXIR_DATA); what the list is learned by instead: reinforce, leave_one_out, reward_to_go,
pl_rank_1, pl_rank_2, pl_rank_3 (other estimators), listmle, approx_ndcg, margin_mse (needs scores:
data.negatives_files=("teacher.jsonl",), or teacher), contrastive (the warm start's loss, for as many
steps); smoke (seconds, no warm start).
"""

from jaxir.config import load_config

ESTIMATORS = ("reinforce", "leave_one_out", "reward_to_go", "pl_rank_1", "pl_rank_2", "pl_rank_3")
# Scores of normalised encoders are cosines: the temperature spreads them.
LOSSES = {
    "listmle": dict(fn="jaxir.losses:list_mle", on="listed", temperature=0.05),
    "approx_ndcg": dict(fn="jaxir.losses:approx_ndcg", on="listed", temperature=0.05),
    "margin_mse": dict(fn="jaxir.losses:margin_mse", on="listed", temperature=0.05),
    "contrastive": dict(fn="jaxir.losses:softmax", on="in_batch", temperature=0.05),
}


def get_config(variant: str = ""):
    asked = [v for v in variant.split(",") if v]
    own = [v for v in asked if v in (*ESTIMATORS, *LOSSES)]
    smoke = "smoke" in asked
    c = load_config("dense:" + ",".join(v for v in asked if v not in own))
    c.name = "-".join((c.name.replace("dense", "policy-gradient"), *own))
    c.objective = dict(
        rank=dict(fn="jaxir.losses:pl_policy_gradient", on="listed", temperature=0.05, samples=16, cutoff=10)
    )
    for name in own:
        if name in ESTIMATORS:
            c.objective.rank.estimator = name
        else:
            c.objective = dict(rank=LOSSES[name])
    c.data.augment = ()
    c.data.one_per = "query"
    c.data.listed = 3 if smoke else 31
    c.data.listed_from = "judged"
    c.data.negatives_files = ("judged", "random")
    c.max_length = dict(query=8, doc=16) if smoke else dict(query=32, doc=128)
    c.optimizer.learning_rate = 2e-5
    if smoke and c.objective.rank.get("cutoff"):
        c.objective.rank.cutoff = 4
    if not smoke:
        c.steps, c.batch_size = 500, 16
        c.eval = dict(every=100, split="dev", queries=300, docs=5000, measure="nDCG@10")
        c.checkpoint.every = 100
    return c
