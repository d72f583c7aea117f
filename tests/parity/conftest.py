"""Real models take longer to run than to compile: XLA optimises here, unlike in the other tests."""

import os

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def optimised():
    jax.config.update("jax_disable_most_optimizations", False)
    environment = os.environ.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)  # of the processes that tests start
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    if environment is not None:
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = environment
