"""What encoding a text costs at each depth of an encoder."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax
import numpy as np

from jaxir.data.padding import pad, step_of
from jaxir.models.cut import cut
from jaxir.retrieval.encode import make_encode_fn
from jaxir.training.checkpoint import Model
from jaxir.types import Encoder

REPEATS, LEAST_SECONDS = 2, 0.2
"""A timing is the fastest of so many, or of as many more as fit into the time."""


def time_layers(
    model: Model, encoder: Encoder, layers: Sequence[int], texts: Sequence[str]
) -> tuple[tuple[int, int], list[float]]:
    """((texts, tokens of each), milliseconds per text at each depth) of one batch of texts of mean length.

    The batch has the rows that suit the machine. Each depth is compiled and timed on its own, with nothing
    computed beyond.
    """
    limit = model.config["max_length"]["doc"]
    prefix = model.config["prefixes"]["doc"]
    ids = model.tokenizer.encode_batch([prefix + text for text in texts], max_length=limit)
    milliseconds, batch = [], None
    for layer in layers:
        encode_fn = make_encode_fn(cut(encoder, layers=layer or None), model.params)
        if batch is None:
            tokens, ladder = encode_fn.suited
            mean = float(np.mean([len(i) for i in ids]))
            length = min(step_of(int(mean), ladder), limit)
            near = sorted(range(len(ids)), key=lambda i: abs(len(ids[i]) - mean))
            batch = pad([ids[i] for i in near[: max(tokens // length, 1)]], length)
        jax.block_until_ready(encode_fn(batch))
        seconds, began = [], time.perf_counter()
        while len(seconds) < REPEATS or time.perf_counter() - began < LEAST_SECONDS:
            start = time.perf_counter()
            jax.block_until_ready(encode_fn(batch))
            seconds.append(time.perf_counter() - start)
        milliseconds.append(1e3 * min(seconds) / len(batch.ids))
    return batch.ids.shape, milliseconds
