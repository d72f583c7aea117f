"""Stretched rotary wavelengths: the same as transformers'."""

import numpy as np
import pytest

from jaxir.models.rotary import frequencies, normalise
from tests.models.test_rotary import DIM, SCALINGS, THETA

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s["rope_type"])
def test_wavelengths_equal_those_of_transformers(scaling):
    rope = pytest.importorskip("transformers.modeling_rope_utils", reason="needs the extra 'parity'")
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=4 * DIM,
        num_attention_heads=4,
        max_position_embeddings=4096,
        rope_parameters={**scaling, "rope_theta": THETA},
    )
    want, factor = rope.ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config)
    got, magnitude = frequencies(DIM, THETA, normalise(scaling))
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5)
    assert magnitude == pytest.approx(factor)
