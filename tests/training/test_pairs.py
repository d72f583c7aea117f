"""What training asks of a cross-encoder's config, and how it is measured while it learns."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.config import load_config
from jaxir.data import tokenizer as tokenizers
from jaxir.data.prepare import prepare_spec
from jaxir.training.build import build_encoder, build_objective
from jaxir.training.pairs import check_pairs
from jaxir.training.start import check_start
from jaxir.training.train import train
from jaxir.training.validate_pairs import make_pair_validator
from jaxir.types import Encoder, Reps

SEP = 3


def config_of(**changes):
    config = load_config("cross_encoder:smoke").to_dict()
    for key, value in changes.items():
        *parents, name = key.split("__")
        target = config
        for parent in parents:
            target = target[parent]
        target[name] = value
    return config


SOFTMAX = "jaxir.losses:softmax"


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (dict(rank=dict(fn=SOFTMAX)), "term 'rank' .* is on 'in_batch'.*objective.rank.on='listed'"),
        (dict(a=dict(fn=SOFTMAX, on="listed"), b=dict(fn=SOFTMAX, on="in_batch")), "term 'b' .*'in_batch'"),
        (dict(rank=dict(fn=SOFTMAX, on="listed", score="cosine")), "score='cosine'"),
    ],
)
def test_terms_that_scores_are_not_for(terms, sentence, tmp_path):
    config = config_of(objective=terms, mesh__data=1)
    encoder = build_encoder(config, 500)
    with pytest.raises(InputError, match=sentence):
        build_objective(config, encoder)
    if "b" in terms:
        with pytest.raises(InputError, match=sentence):  # before any data is read
            train(config, tmp_path / "run", progress=False)


def test_pairs_and_cross_encoders_go_together():
    scores, dense = build_encoder(config_of(), 500), Encoder(init=None, encode=None)
    check_pairs(config_of(), scores)
    with pytest.raises(InputError, match=r"data.pairs is None: set data.pairs='joined'"):
        check_pairs(config_of(data__pairs=None), scores)
    with pytest.raises(InputError, match="'joined' is for cross-encoders"):
        check_pairs(config_of(), dense)
    changes = dict(init_from="x", init_with__cross_encoder={}, lora__rank=4)
    with pytest.raises(InputError, match="new head, which would stay random"):
        check_start(config_of(**changes))
    check_start(config_of(**changes, lora__trained=("head", "pooler")))


def test_lists_of_the_dev_split_are_ranked(texts, tmp_path):
    """A query is five words of its document: who counts shared words puts that one first."""
    prepared = prepare_spec(f"beir:{texts}", tmp_path, progress=False)
    tokenizer = tokenizers.train([d.text for d in prepared.docs], vocab_size=200)
    config = config_of(max_length=dict(query=20, doc=60), eval__queries=10, eval__docs=50)

    def encode(params, tokens, *, side):
        ids = jnp.where(tokens.mask, tokens.ids, -1)
        segment = jnp.cumsum(ids == SEP, axis=-1) - (ids == SEP)
        words = lambda number: jnp.where((segment == number) & (ids > SEP), ids, -1 - number)
        same = words(0)[:, :, None] == words(1)[:, None, :]
        return Reps(params * same.any(-1).sum(-1, keepdims=True).astype(jnp.float32))

    validate = make_pair_validator(prepared, Encoder(None, encode, "scores", 1), tokenizer, config)
    good, bad = validate(jnp.float32(1)), validate(jnp.float32(-1))
    assert set(good) == {"MRR@10", "nDCG@10"}
    assert good["MRR@10"] > 0.9
    assert bad["MRR@10"] < 0.1
    config["eval"]["measure"] = "R@100"
    with pytest.raises(InputError, match="one of MRR@10, nDCG@10"):
        make_pair_validator(prepared, Encoder(None, encode, "scores", 1), tokenizer, config)
    assert np.isfinite(list(good.values())).all()
