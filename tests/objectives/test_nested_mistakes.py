"""Sizes that make no sense, with sentences that say what to change; refused before any data is prepared."""

import functools

import pytest

from jaxir.checks import InputError
from jaxir.config import load_config
from jaxir.objectives import combine, matryoshka, matryoshka_2d, starbucks
from jaxir.training.build import build_objective
from jaxir.training.train import train

from .nested_toys import encoder

RANK = dict(rank=dict(fn="jaxir.losses:softmax"))
DF = dict(df=dict(fn="jaxir.losses:df_flops", on="docs", memory=dict(fn="jaxir.objectives:running_df")))
M, TWO, BUCKS = matryoshka, matryoshka_2d, starbucks
SIZES = ((1, 2), (3, 8))

MISTAKES = [
    (M, {}, dict(dims=()), "dims is empty: give sizes from small to large"),
    (M, {}, dict(dims=8), "dims is 8, expected whole numbers from small to large, such as"),
    (M, {}, dict(dims=(2, "4")), "expected whole numbers"),
    (M, {}, dict(dims=(2.0, 4)), "expected whole numbers"),
    (M, {}, dict(dims=(4, 2)), r"2 comes after 4: give \(2, 4\)"),
    (M, {}, dict(dims=(2, 4, 4)), r"without repetitions, and 4 comes after 4: give \(2, 4\)"),
    (M, {}, dict(dims=(2, 9)), "dims=9: the encoder has 1 to 8 dimensions"),
    (M, {}, dict(dims=(0, 4)), "dims=0: the encoder has 1 to 8 dimensions"),
    (M, dict(kind="sparse"), dict(dims=(2, 9)), "dims=9: the encoder has 1 to 8 active terms"),
    (M, dict(kind="hybrid"), dict(dims=(2, 4)), "a hybrid has no nested sizes.*leave 'nested' out"),
    (M, {}, dict(dims=(2, 4), weights=(1.0,)), r"weights is \(1.0,\) for 2 sizes: give one number for each"),
    (M, {}, dict(dims=(2, 4), weights=2.0), "for 2 sizes: give one number for each"),
    (M, {}, dict(dims=(2, 4), weights=(1.0, -1.0)), "must be at least 0"),
    (BUCKS, {}, dict(sizes=(2, 4)), r"expected pairs \(layers, dimensions\) from small to large"),
    (BUCKS, {}, dict(sizes=((2, 4), (3,))), r"expected pairs \(layers, dimensions\)"),
    (BUCKS, {}, dict(sizes=((0, 4), (3, 8))), "layers=0: the encoder has layers 1 to 3"),
    (BUCKS, {}, dict(sizes=((2, 4), (4, 8))), "layers=4: the encoder has layers 1 to 3"),
    (BUCKS, {}, dict(sizes=((2, 4), (3, 9))), "dims=9: the encoder has 1 to 8 dimensions"),
    (BUCKS, {}, dict(sizes=SIZES[::-1]), r"\(1, 2\) comes after \(3, 8\): give \(\(1, 2\), \(3, 8\)\)"),
    (BUCKS, {}, dict(sizes=(SIZES[0], *SIZES)), r"without repetitions.*give \(\(1, 2\), \(3, 8\)\)"),
    (BUCKS, {}, dict(sizes=((1, 8), (3, 2))), "neither holds the other: leave one out"),
    (BUCKS, dict(layers=0), dict(sizes=SIZES), "has none to choose from: nest by dimensions alone"),
    (BUCKS, {}, dict(sizes=SIZES, kl="score"), "Did you mean 'scores'"),
    (BUCKS, {}, dict(sizes=SIZES, kl_weight=-1.0), "kl_weight is -1.0, it must be at least 0"),
    (BUCKS, dict(kind="sparse"), dict(sizes=SIZES, kl="coordinates"), "this one is sparse: use kl='scores'"),
    (BUCKS, {}, dict(sizes=SIZES, weights=(1.0,) * 3), "for 2 sizes: give one number for each"),
    (TWO, {}, dict(dims=(4, 2)), r"give \(2, 4\)"),
    (TWO, {}, dict(dims=(2, 9)), "dims=9"),
    (TWO, dict(layers=0), dict(dims=(2, 8)), "0 layers has none below the last: use matryoshka"),
    (TWO, dict(layers=1), dict(dims=(2, 8)), "1 layers has none below the last"),
    (TWO, dict(kind="sparse"), dict(dims=(2, 8)), "this one is sparse: kl_weight=0"),
    (TWO, {}, dict(dims=(2, 8), reading="detach"), "Did you mean 'detached'"),
    (TWO, {}, dict(dims=(2, 8), layer_weights="logs"), "Did you mean 'log'"),
    (TWO, {}, dict(dims=(2, 8), kl_temperature=0.0), "kl_temperature is 0.0, it must be above 0"),
]


@pytest.mark.parametrize(("wrapper", "facts", "arguments", "message"), MISTAKES)
def test_sizes_that_make_no_sense(wrapper, facts, arguments, message):
    with pytest.raises(InputError, match=message):
        wrapper(combine(RANK), encoder=encoder(**facts), **arguments)


def test_objectives_that_do_not_fit():
    listed = combine(dict(rank=RANK["rank"] | dict(on="listed")))
    with pytest.raises(InputError, match=r"needs a term on='in_batch', .* kl_weight=0 goes without"):
        starbucks(listed, encoder=encoder(), sizes=SIZES)
    starbucks(listed, encoder=encoder(), sizes=SIZES, kl_weight=0.0)
    with pytest.raises(InputError, match="memory"):
        matryoshka_2d(combine(RANK | DF), encoder=encoder(), dims=(2, 8))
    once = starbucks(combine(RANK), encoder=encoder(), sizes=SIZES)
    for again in (functools.partial(starbucks, sizes=SIZES), functools.partial(matryoshka, dims=(2, 8))):
        with pytest.raises(InputError, match=r"already one of the layers \(1, 3\): wrap the plain one, once"):
            again(once, encoder=encoder())


WRAP = "jaxir.objectives"


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        (dict(fn=f"{WRAP}:matryoshka"), "cannot wrap the objective: missing a required argument: 'dims'"),
        (dict(fn=f"{WRAP}:matryoshka", dim=(8,)), "Did you mean 'dims'"),
        (dict(fn="jaxir.losses:softmax"), "cannot wrap the objective"),
    ],
)
def test_what_wraps_no_objective(nested, message):
    with pytest.raises(InputError, match=message):
        build_objective(dict(objective=RANK, nested=nested), encoder())


def test_training_refuses_sizes_at_once(tmp_path):
    config = load_config("dense:smoke")
    config.data.source = "beir:/nowhere"  # which would be the next complaint
    config.nested = dict(fn=f"{WRAP}:starbucks", sizes=((1, 8), (99, 16)))
    with pytest.raises(InputError, match="layers=99: the encoder has layers 1 to"):
        train(config, tmp_path / "run", progress=False)
