"""What the sizes of a run decide: how much of a batch is encoded at a time, and the form of its negatives.

None of it changes a number (but for the draws of dropout): it is memory against time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxir.checks import check_positive
from jaxir.negatives import choose
from jaxir.training.build import build_objective
from jaxir.types import Encoder, Tokens

SHARE = 0.4
"""Of a device's memory for activations; the rest is for parameters, optimiser and the loss."""

SMALL = 1 << 13
"""Tokens per device that are encoded at once without looking at sizes, which takes a second or two."""


def encode_chunk(
    config: Mapping[str, Any], encoder: Encoder, devices: int, *, memory: int | None = None
) -> int | None:
    """Entries of the batch that each device encodes at a time; None = all of them.

    ``config["encode_chunk"]`` where it is set (0 = all). Otherwise all, unless what the backward pass keeps
    of them, at the longest lengths, exceeds :data:`SHARE` of the device's memory: then the fewest chunks
    of which each fits.

    Args:
      memory: bytes of a device; by default those of this process's first one.

    Raises:
      InputError: a negative number.
    """
    rows = -(-config["batch_size"] // (config["accumulate"] * devices))
    wanted = config.get("encode_chunk")
    if wanted is not None:
        check_positive("encode_chunk", wanted + 1)
        return wanted if 0 < wanted < rows else None
    longest = config["max_length"]
    if rows * (longest["query"] + (1 + config["data"]["listed"]) * longest["doc"]) <= SMALL:
        return None
    budget = max(int(SHARE * (memory or _device_bytes())), 1)
    needed = rows * bytes_per_entry(config, encoder)
    if needed <= budget:
        return None
    fewest = -(-needed // budget)
    # A number of chunks that divides the batch leaves no filling, and lets a transformer skip padding.
    count = next((n for n in range(fewest, min(2 * fewest, rows) + 1) if rows % n == 0), min(fewest, rows))
    return -(-rows // count)


def bytes_per_entry(config: Mapping[str, Any], encoder: Encoder) -> int:
    """What the backward pass keeps of one query and its documents, before XLA leaves some of it out.

    Of all layers that the objective asks for.
    """
    return _kept(config, encoder, 2) - _kept(config, encoder, 1)


def describe(config: Mapping[str, Any], encoder: Encoder, devices: int, chunk: int | None) -> list[str]:
    """Sentences on the decisions, for the one who starts the run; none where nothing is special."""
    rows = config["batch_size"] // (config["accumulate"] * devices)
    lines = []
    if chunk is not None:
        kept = chunk * bytes_per_entry(config, encoder) / 2**20
        lines.append(
            f"each device encodes {chunk:,} of its {rows:,} entries at a time (about {kept:,.0f} MiB of "
            "activations); encode_chunk=0 encodes all at once"
        )
    documents = config["batch_size"] // config["accumulate"] * (1 + config["data"]["listed"])
    for name, term in config["objective"].items():
        if term.get("on", "in_batch") == "in_batch":
            mode = dict(term.get("negatives", {})).get("mode")
            choice = choose(rows, documents, encoder.dim, devices=devices, mode=mode)
            if choice.mode != "dense":
                lines.append(f"negatives of {name!r} are {choice.mode} ({choice.why}), where its loss allows")
    return lines


def _kept(config: Mapping[str, Any], encoder: Encoder, rows: int) -> int:
    longest, listed = config["max_length"], 1 + config["data"]["listed"]
    shapes = {"query": (rows, longest["query"]), "doc": (rows, listed, longest["doc"])}
    asked: dict[str, Any] = {}
    if config.get("nested"):
        some = {"idf": np.zeros(1)}  # a table's numbers do not matter
        asked["layers"] = build_objective(config, encoder, arrays=some).layers

    def residuals(params: Any) -> Any:
        def encode(params: Any) -> Any:
            key = jax.random.key(0)
            return [
                encoder.encode(
                    params, Tokens(jnp.zeros(s, jnp.int32), jnp.ones(s, bool)), side=side, key=key, **asked
                )
                for side, s in shapes.items()
            ]

        return jax.vjp(encode, params)[1]

    kept = jax.eval_shape(residuals, jax.eval_shape(encoder.init, jax.random.key(0)))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept) if hasattr(x.dtype, "itemsize"))


def _device_bytes() -> int:
    """Memory of the first device; of a CPU, its share of the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
