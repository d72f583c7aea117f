"""Eight fake CPU devices, shape checks at run time, and where the real data sets lie."""

import os
import pathlib
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("MPLBACKEND", "Agg")
# Tiny programs run for microseconds and compile for seconds, half of those without LLVM's work: here and in
# the processes that tests start, or the same program would round in another way.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Nearly all of the tests' time is compilation: what one has compiled is there for the other workers, for
# the processes that tests start, and for the next call of pytest.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.abspath(".pytest_cache/compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import jaxlib
import jaxtyping
import pytest

import tests.typecheck  # noqa: F401  (named by the hook below)

jax.config.update("jax_num_cpu_devices", 8)
if jaxlib.__version__.startswith("0.10."):  # elsewhere the flag may be unknown, which ends the process
    # The older emitters compile a tiny program in two thirds of the time, also in processes of the tests.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"

ROOT = pathlib.Path(__file__).parent.parent

# Annotated shapes and types are checked at every call in the tests, in the files that annotate shapes:
# preparing the others as well takes each worker twice the time of importing everything.
jaxtyping.install_import_hook(
    [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in (ROOT / "jaxir").rglob("*.py")
        if "import jaxtyping" in (text := file.read_text(encoding="utf-8")) or "from jaxtyping" in text
    ],
    "tests.typecheck.check",
)


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real data sets named by JAXIR_DATA; skips the test where it is unset."""
    folder = os.environ.get("JAXIR_DATA")
    if not folder:
        pytest.skip("JAXIR_DATA is unset: it names the folder with the real data sets")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def run_jaxir():
    """Runs the command as a user would, in its own process: run_jaxir("prepare", "--help")."""
    import subprocess

    def run(*args, input=None, env=None, timeout=300, cwd=None):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        return subprocess.run(
            [sys.executable, "-m", "jaxir.cli.main", *map(str, args)],
            input=input,
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout,
            cwd=cwd,
        )

    return run
