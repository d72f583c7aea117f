"""Which figures of similarity are not comparable, because pairs stand in several sets.

The STS Benchmark was put together from STS 2012 to 2017: its training part holds pairs that these test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxir.checks import InputError
from jaxir.evaluation.sts import StsSet, read_sts

TASKS = ("sts12", "sts13", "sts14", "sts15", "sts16")
BENCHMARK = ("stsb", "stsbenchmark")

Pairs = Mapping[str, set[frozenset[str]]]


def warnings_of(sets: Sequence[StsSet], trained_on: str = "") -> list[str]:
    """Sentences on pairs that stand in other sets as well.

    Args:
      sets: those that are evaluated. Every train.tsv in the folders beside theirs is read.
      trained_on: the text of the model's config.
    """
    pairs = {one.name: _pairs(one) for one in sets}
    said = _trainings(sets, pairs)
    for number, (name, some) in enumerate(pairs.items()):
        twice = {other: len(some & pairs[other]) for other in list(pairs)[number + 1 :]}
        if any(twice.values()):
            said.append(f"{name} shares pairs with {_counts(twice, pairs)}: these count twice in the mean")
    tested = [name for name in pairs if name.startswith(TASKS)]
    named = trained_on.lower().replace("-", "").replace("_", "")
    if tested and any(name in named for name in BENCHMARK):
        said.append(
            "the model's config names the STS Benchmark, whose training part holds test pairs of "
            f"{', '.join(tested)}: if it was trained on that, their figures are too high"
        )
    return said


def _trainings(sets: Sequence[StsSet], pairs: Pairs) -> list[str]:
    beside = {
        file.resolve() for one in sets for file in one.path.absolute().parent.parent.glob("*/train.tsv")
    }
    said = []
    for file in sorted(beside - {one.path.resolve() for one in sets}):
        try:
            train = read_sts(file)
        except InputError:  # another kind of table
            continue
        trained = _pairs(train)
        seen = {name: len(trained & some) for name, some in pairs.items()}
        if any(seen.values()):
            said.append(
                f"{train.name} holds {_counts(seen, pairs)} pairs: do not compare these figures with "
                "those of a model that was trained on it"
            )
    return said


def _pairs(one: StsSet) -> set[frozenset[str]]:
    """The pairs without their order, case and spaces."""
    plain = lambda text: " ".join(text.lower().split())
    return {frozenset((plain(a), plain(b))) for a, b in zip(one.first, one.second)}


def _counts(shared: Mapping[str, int], pairs: Pairs) -> str:
    return ", ".join(f"{count:,} of {name}'s {len(pairs[name]):,}" for name, count in shared.items() if count)
