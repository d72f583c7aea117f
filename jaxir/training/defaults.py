"""Every field of a training config, with its default and what it means."""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def default_config() -> ConfigDict:
    """The config that every file in configs/ starts from. Fields are locked: an unknown one is an error."""
    return ConfigDict(
        dict(
            name="",
            seed=0,
            steps=1000,  # optimiser steps
            batch_size=256,  # queries in the global batch, over all devices and hosts
            accumulate=1,  # micro-batches per optimiser step; each has its own negatives
            # Entries (queries with their documents) that each device encodes at a time; 0: all. Less memory,
            # a second forward pass. Unset: by the device's memory.
            encode_chunk=placeholder(int),
            # Where the pairs come from. A source is what `jaxir prepare --source` takes, or the
            # directory that it wrote; several at once: sources=(dict(source=..., weight=...), ...).
            data=dict(
                source="pydocs",
                sources=(),
                split="train",
                # "documents": each document once per epoch, with an empty query, whether it is judged or not;
                # for pre-training, and for queries that are cropped from documents. "joined": the judged
                # pairs, each document together with its query, for cross-encoders. Unset: the judged pairs
                pairs=placeholder(str),
                pair_suffix="",  # text behind each joined pair, such as " Relevant:"
                same_source_batches=False,  # each batch from one of several sources
                listed=0,  # documents listed with each query, drawn anew each time
                # "negatives": grade 0 or the negatives file; "judged": other judged documents, graded;
                # "random": documents that are not relevant to the query
                listed_from="negatives",
                # jsonl: {"query_id": ..., "doc_ids": [...], "scores": [...]}, what jaxir score writes; or MS
                # MARCO's {"qid", "pos", "neg"}
                negatives_file=placeholder(str),
                # Several of them, mixed by weight: (dict(file="a.jsonl", weight=1.0), ("b.jsonl", 2.0));
                # "judged", "negatives" and "random" among them are what listed_from means by it. Each of
                # several sources may have its own
                negatives_files=placeholder(object),
                # "query": an example for each query, with one of its relevant documents drawn each time.
                # Unset ("positive"): one for each relevant document
                one_per=placeholder(str),
                doc_text="text",  # or "title+text"
                augment=(),  # dict(fn="jaxir.data.augment:...") applied in order
                # Whether a transformer skips padding (one device only); unset: on a CPU.
                packed=placeholder(bool),
            ),
            # dict(path="tokenizer.json"), or how to train one on the documents.
            tokenizer=dict(kind="wordpiece", vocab_size=8000, lowercase=True, path=placeholder(str)),
            # Weights of tokens in queries without an encoder: a file of jaxir prepare --idf. Unset: counted
            # on the run's documents.
            idf=placeholder(str),
            prefixes=dict(query="", doc=""),  # instructions put before the text
            # tokens; longer texts are cut. With data.pairs="joined", doc is query and document together
            max_length=dict(query=32, doc=128),
            ladder=(16, 32, 48, 64, 96, 128, 192, 256, 384, 512),  # padded lengths that are compiled
            encoder=dict(fn="jaxir.models.static:static"),  # vocab_size comes from the tokenizer
            # A model to begin from: a folder of published weights, a name of the Hugging Face Hub, or a
            # work directory. It then decides encoder, tokenizer, and prefixes where those above are "".
            init_from=placeholder(str),
            # Where the encoder shall differ from it. A projection that it does not have starts at random.
            init_with=dict(
                # A learned sparse encoder of a backbone: arguments of jaxir.models.sparse.splade.
                sparse=placeholder(object),
                # Masked pre-training of a backbone: arguments of jaxir.models.smae.masked_language_model.
                pretraining=placeholder(object),
                # A cross-encoder of a backbone: arguments of jaxir.models.cross_encoder.cross_encoder.
                cross_encoder=placeholder(object),
                pooling=placeholder(str),
                normalize=placeholder(bool),
                projection=placeholder(int),
                towers=placeholder(str),  # "separate": a copy of the weights for each side
                layers=placeholder(int),  # only the first blocks
                causal=placeholder(bool),
                dropout=placeholder(float),
                dtype=placeholder(str),  # "bfloat16": of the computation; the weights stay float32
                remat=placeholder(str),  # none, dots or full: what the backward pass computes again
                scan=placeholder(bool),  # a loop over the layers: compiles in a fraction of the time
                attention=placeholder(str),  # auto, xla or cudnn
            ),
            # Low-rank adapters instead of the weights, which stay as they are; rank=0: none.
            lora=dict(
                rank=0,
                alpha=16.0,  # the addition is multiplied by alpha / rank
                targets="attention/(query|value)/kernel",  # a path regex
                dropout=0.0,  # share of the inputs that an adapter does not see
                trained=(),  # path regexes of weights that are trained as well, whole
            ),
            # A frozen model of the same tokenizer; losses of a teacher learn from its scores of the batch. A
            # folder of published weights, a name of the Hugging Face Hub, or a work directory.
            teacher=placeholder(str),
            objective=dict(
                rank=dict(
                    fn="jaxir.losses:softmax",
                    on="in_batch",
                    temperature=0.05,
                    # dense, tiled or ring (docs/losses.md), unset: by size; and candidates of a tile
                    negatives=dict(mode=placeholder(str), tile=512),
                ),
            ),
            # The objective at several sizes of the encoder: dict(fn="jaxir.objectives:starbucks",
            # sizes=((2, 32), (6, 128))), matryoshka or matryoshka_2d. Unset: at its own size only.
            nested=placeholder(object),
            optimizer=dict(
                optimizer=dict(fn="optax:adamw", weight_decay=0.01),
                learning_rate=1e-3,
                warmup=0.1,  # share of the run if below 1, else steps
                decay="cosine",
                final=0.0,
                clip_norm=1.0,
                lr_multipliers=(),  # (path regex, factor)
                frozen=(),  # path regexes
            ),
            ema_decay=placeholder(
                float
            ),  # moving average of the weights, used for evaluation and the final model
            mesh=dict(data=-1, fsdp=1, rules=()),
            # Retrieval on a sample of the dev split while training.
            eval=dict(every=0, split="dev", queries=500, docs=5000, measure="MRR@10"),
            checkpoint=dict(
                every=0,  # 0: only at the end (and on SIGTERM)
                keep=2,
                trained_only=False,  # leave out frozen weights: they are read from init_from again
            ),
            log=dict(every=10, tensorboard=False),
        ),
        convert_dict=True,
    )


# Fields that may differ between a run and its continuation: they do not change the parameters.
HARMLESS = ("eval", "checkpoint", "log", "name", "encode_chunk")
