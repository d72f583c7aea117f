"""Real models take longer to run than to compile: XLA optimises here, unlike in the other tests."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def optimised():
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
