"""Stage times of `jaxir quickstart`, and the figures it reaches.

  python benchmarks/quickstart.py [--fast] [--runs=1]

Prints a table of seconds per stage (medians over the runs) and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="the 30-second version")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()

    results, wall = [], []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "jaxir.cli.main", "quickstart", f"--workdir={folder}/run"]
            began = time.perf_counter()
            subprocess.run([*command, *(["--fast"] if options.fast else [])], check=True)
            wall.append(time.perf_counter() - began)
            results.append(json.loads(pathlib.Path(folder, "run", "report", "results.json").read_text()))

    stages = {s: statistics.median(r["seconds"][s] for r in results) for s in results[0]["seconds"]}
    for stage, seconds in stages.items():
        print(f"{stage:<16}{seconds:8.1f} s")
    last = results[-1]
    print(json.dumps({
        "wall": round(statistics.median(wall), 1),
        "seconds": {k: round(v, 1) for k, v in stages.items()},
        "runs": last["runs"],
        "scann_recall@100": last["scann_recall@100"],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
