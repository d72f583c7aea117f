"""Flags that several commands share."""

from __future__ import annotations

from absl import flags


def define_model(values: flags.FlagValues) -> None:
    """``--model`` and ``--allow_import``: which model, and what its config may name."""
    flags.DEFINE_string(
        "model",
        None,
        "work directory, folder of published weights or Hub name (default: the one of --workdir)",
        flag_values=values,
    )
    define_allow_import(values)


def define_allow_import(values: flags.FlagValues) -> None:
    """``--allow_import``: a config that is found beside weights is data and names trusted packages only."""
    flags.DEFINE_multi_string(
        "allow_import", [], "package that the model's config may name", flag_values=values
    )
