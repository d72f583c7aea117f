"""Memory of encoding and exact search does not grow with the corpus, but for the vectors themselves."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_flat_in_corpus_size(real_data, root):
    def peak(docs):
        command = ["-m", "tests.retrieval.memory", str(real_data / "scifact" / "corpus.jsonl"), str(docs)]
        done = subprocess.run(
            [sys.executable, *command], cwd=root, stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    small, large = peak(50_000), peak(200_000)
    print(small, large)
    assert large["peak_mb"] <= 1.5 * small["peak_mb"] + large["vectors_mb"]
