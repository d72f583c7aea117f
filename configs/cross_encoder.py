"""A cross-encoder, which reads query and document together: trained on lists of documents to re-rank others.

  jaxir train --config=cross_encoder:nfcorpus,minilm --workdir=runs/cross    all-MiniLM-L6-v2 as its trunk
  jaxir rerank --workdir=runs/cross --source=beir:$JAXIR_DATA/nfcorpus --out=reranked.trec
  jaxir train --config=cross_encoder:squad --config.data.negatives_file=mined.jsonl --workdir=runs/cross

A list is a relevant document and random ones, of nfcorpus other judged documents with their grades as well;
better are those that jaxir mine finds (negatives_file, or negatives_files=("judged", "mined.jsonl")).
init_from takes a bi-encoder, a masked language model, a decoder or a work directory, whose head is new, or a
published cross-encoder with its own. docs/reranking.md has the rest.

Variants: a data set by its short name (squad, nfcorpus and others of jaxir/data/named.py: folders in BEIR
layout under $JAXIR_DATA), minilm (from published weights), listwise (the softmax over each list, which is
the default), ranknet (pairs of each list), pg (nDCG@10 by the policy gradient), smoke (seconds).
"""

from jaxir.config import variants_of
from jaxir.data.named import FOLDERS, SENTENCES, use_named
from jaxir.training.defaults import default_config


def get_config(variant: str = ""):
    variants = variants_of(variant, [*FOLDERS, "minilm", "listwise", "ranknet", "pg", "smoke"])
    c = default_config()
    c.name = "cross-encoder"
    c.steps = 1000
    c.batch_size = 16
    c.data.pairs = "joined"
    c.data.listed = 7
    c.data.listed_from = "random"
    c.data.doc_text = "title+text"
    c.data.one_per = "query"
    c.max_length = dict(query=32, doc=192)  # doc: of query and document together
    c.tokenizer = dict(kind="wordpiece", vocab_size=16000)
    c.encoder = dict(
        fn="jaxir.models.cross_encoder:cross_encoder",
        layers=4,
        dim=256,
        heads=4,
        ff_dim=1024,
        token_types=2,
        dropout=0.1,
    )
    c.objective = dict(rank=dict(fn="jaxir.losses:softmax", on="listed", temperature=1.0))
    c.optimizer.learning_rate = 3e-4
    c.optimizer.clip_norm = 1.0
    # Lists of the dev split are ranked; of each query 30 documents.
    c.eval = dict(every=250, split="dev", queries=50, docs=3000, measure="nDCG@10")
    c.checkpoint.every = 250
    named = use_named(c, variants)
    if named in SENTENCES:
        c.max_length.doc = 96
    if named == "nfcorpus":
        c.data.negatives_files = ("judged", "random")
    if "minilm" in variants:
        c.init_from = "sentence-transformers/all-MiniLM-L6-v2"
        c.init_with.cross_encoder = dict(head_dropout=0.1)
        c.init_with.dropout = 0.1
        c.optimizer.learning_rate = 5e-5
        c.optimizer.decay = "linear"
    if "ranknet" in variants:
        c.objective = dict(rank=dict(fn="jaxir.losses:weighted_ranknet", on="listed"))
    if "pg" in variants:
        c.objective = dict(rank=dict(fn="jaxir.losses:pl_policy_gradient", on="listed", samples=16, cutoff=8))
    if "smoke" in variants:
        c.steps, c.batch_size = 4, 4
        if not named:
            c.data.source = "pydocs:optax,tqdm"
        c.data.listed = 3
        c.tokenizer.vocab_size = 500
        c.max_length = dict(query=8, doc=32)
        if "minilm" not in variants:
            c.encoder.update(layers=1, dim=32, heads=2, ff_dim=64)
        if "pg" in variants:
            c.objective.rank.cutoff = 4
        c.eval = dict(every=2, split="dev", queries=4, docs=30, measure="nDCG@10")
        c.checkpoint.every = 2
    return c
