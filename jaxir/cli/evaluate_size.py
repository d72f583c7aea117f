"""The size at which ``jaxir evaluate`` takes an encoder, or its funnel."""

from __future__ import annotations

from typing import Any

from absl import flags

from jaxir.cli.shared import define_sizes, size_flag


def define(values: flags.FlagValues) -> None:
    define_sizes(values)
    flags.DEFINE_integer(
        "rerank_dims", None, "a funnel: dimensions after those of --dims", flag_values=values
    )
    flags.DEFINE_integer(
        "rerank", None, "of a funnel: documents that are ordered again (default: 200)", flag_values=values
    )


def at_size(values: flags.FlagValues, model: Any) -> Any:
    """The model, cut to --layers and --dims; of a funnel --dims are those of its first search."""
    from jaxir.retrieval.model import cut_model

    dims = None if funnel(values) else size_flag(values, "dims")
    return cut_model(model, layers=size_flag(values, "layers"), dims=dims)


def funnel(values: flags.FlagValues) -> dict[str, int | None] | None:
    """The sizes of the funnel, if one is asked for."""
    if values.rerank_dims is None and values.rerank is None:
        return None
    return dict(dims=size_flag(values, "dims"), rerank_dims=values.rerank_dims, rerank=values.rerank)
