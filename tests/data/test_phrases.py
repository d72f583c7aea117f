import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.data.phrases import maximum_coverage


def naive(candidates, size):
    """The definition: at each step the gain of every phrase."""
    seen = list(dict.fromkeys(phrase for phrases in candidates for phrase in phrases))
    chosen, covered = [], set()
    while len(chosen) < size:
        gains = [
            sum(phrase in found and i not in covered for i, found in enumerate(candidates)) for phrase in seen
        ]
        best = int(np.argmax(gains))
        if not gains[best]:
            break
        chosen.append(seen[best])
        covered |= {i for i, found in enumerate(candidates) if seen[best] in found}
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_the_lazy_choice_is_the_greedy_one(seed):
    rng = np.random.default_rng(seed)
    candidates = [[f"p{i}" for i in rng.zipf(1.5, rng.integers(0, 5)) if i < 40] for _ in range(60)]
    got = maximum_coverage(candidates, 25)
    assert got.phrases == naive(candidates, 25)
    assert len(got.phrases) > 5
    gains = np.diff([0, *got.coverage])
    assert (gains > 0).all()
    assert (np.diff(gains) < 1e-12).all()  # diminishing
    reached = sum(any(p in got.phrases for p in found) for found in candidates) / len(candidates)
    assert got.coverage[-1] == pytest.approx(reached)


def test_rare_and_known_phrases_are_left_out():
    candidates = [["deep nets", "x"], ["deep nets", "y"], ["the", "y"], []]
    assert maximum_coverage(candidates, 9, min_documents=2, known={"deep nets"}).phrases == ["y"]
    assert maximum_coverage([], 3) == ([], [])
    with pytest.raises(InputError, match="size is 0"):
        maximum_coverage(candidates, 0)
