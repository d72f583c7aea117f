import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def quick_compilation():
    """Tiny models run for microseconds and compile for seconds: half of those without LLVM's work."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
