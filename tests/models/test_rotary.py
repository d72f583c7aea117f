import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.models.positions import rotary_angles
from jaxir.models.rotary import frequencies, normalise

LLAMA3 = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=512)
SCALINGS = [
    dict(rope_type="linear", factor=8.0),
    LLAMA3,
    YARN,
    {**YARN, "attention_factor": 1.25, "beta_fast": 8, "beta_slow": 2},
    {**YARN, "mscale": 1.0, "mscale_all_dim": 0.8, "truncate": False},
]
DIM, THETA = 32, 10_000.0


def one_by_one(scaling):
    """The definitions, pair by pair, in float64."""
    s, out = scaling, []
    for i in range(DIM // 2):
        f = THETA ** (-2 * i / DIM)
        wavelength = 2 * math.pi / f
        if s["rope_type"] == "linear":
            out.append(f / s["factor"])
        elif s["rope_type"] == "llama3":
            length = s["original_max_position_embeddings"]
            if wavelength < length / s["high_freq_factor"]:
                out.append(f)
            elif wavelength > length / s["low_freq_factor"]:
                out.append(f / s["factor"])
            else:
                smooth = length / wavelength - s["low_freq_factor"]
                smooth /= s["high_freq_factor"] - s["low_freq_factor"]
                out.append((1 - smooth) * f / s["factor"] + smooth * f)
        else:
            ends = []
            for turns, rounded in ((s.get("beta_fast", 32), math.floor), (s.get("beta_slow", 1), math.ceil)):
                # The (real) pair number whose wavelength is L / turns.
                end = math.log(s["original_max_position_embeddings"] / turns / 2 / math.pi, THETA) * DIM / 2
                ends.append(rounded(end) if s.get("truncate", True) else end)
            low, high = max(ends[0], 0), min(ends[1], DIM - 1)
            ramp = min(max((i - low) / (high - low), 0), 1)
            out.append(ramp * f / s["factor"] + (1 - ramp) * f)
    magnitude = 1.0
    if s["rope_type"] == "yarn":
        log = 0.1 * math.log(s["factor"])
        magnitude = s.get("attention_factor") or 1 + log
        if "mscale" in s:
            magnitude = (1 + s["mscale"] * log) / (1 + s["mscale_all_dim"] * log)
    return np.array(out), magnitude


@pytest.mark.parametrize("scaling", SCALINGS)
def test_wavelengths_follow_the_definitions(scaling):
    got, magnitude = frequencies(DIM, THETA, normalise(scaling))
    want, factor = one_by_one(scaling)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert magnitude == pytest.approx(factor)
    cos, sin = rotary_angles(jnp.array([[0, 7]]), DIM, THETA, normalise(scaling))
    np.testing.assert_allclose(cos[0, 1, 0], factor * np.cos(7 * want), atol=1e-5)
    np.testing.assert_allclose(sin[0, 1, 0], factor * np.sin(7 * want), atol=1e-5)


@pytest.mark.parametrize("scaling", [None, {}, {"rope_type": "default"}])
def test_no_scaling(scaling):
    assert normalise(scaling) is None
    got, magnitude = frequencies(DIM, THETA)
    np.testing.assert_allclose(got, THETA ** (-np.arange(0, DIM, 2) / DIM), rtol=1e-6)
    assert magnitude == 1


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ("linear", "expected a mapping"),
        ([3], "expected a mapping"),
        ({"factor": 2.0}, "has no 'rope_type'"),
        ({"rope_type": "longrope"}, "unknown rope_type"),
        ({"rope_type": "linear", "factr": 2.0}, "Did you mean 'factor'"),
        ({"rope_type": "linear", "factor": 2.0, "beta_fast": 8}, "unknown field of linear"),
        ({"rope_type": "linear", "factor": "2"}, "must be a number"),
        ({"rope_type": "linear", "factor": -1.0}, "factor of rotary_scaling is -1.0"),
        ({"rope_type": "linear"}, "lacks factor"),
        ({"rope_type": "yarn", "factor": 2.0}, "lacks original_max_position_embeddings"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "must be above low_freq_factor"),
    ],
)
def test_what_is_wrong_is_said(scaling, sentence):
    with pytest.raises(InputError, match=sentence):
        normalise(scaling)
