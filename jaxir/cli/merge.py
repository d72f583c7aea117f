"""jaxir merge: one model from several that were trained from the same start (a model soup).

  jaxir merge runs/a runs/b runs/c --out=merged
  jaxir merge runs/a runs/b --weights=0.7,0.3 --method=slerp --to=sentence-transformers --out=merged
  jaxir evaluate --model=merged --workdir=runs/merged --source=beir:data/scifact

A model is a work directory of jaxir train, a folder of published weights, or a name of the Hugging Face
Hub. average: the weighted mean of the parameters. slerp: two models, along the arc between them, leaf by
leaf. Models of different encoders, tokenizers, prefixes or shapes are refused.
"""

from __future__ import annotations

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_allow_import


def define(values: flags.FlagValues) -> None:
    values.set_gnu_getopt(True)  # flags may follow the models
    flags.DEFINE_list(
        "weights", None, "one per model, divided by their sum; default: equal", flag_values=values
    )
    flags.DEFINE_enum("method", "average", ["average", "slerp"], "of merging", flag_values=values)
    flags.DEFINE_string("out", None, "folder to write", flag_values=values)
    flags.DEFINE_enum(
        "to", "jaxir", ["jaxir", "sentence-transformers"], "format, as of jaxir export", flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "replace what stands at --out", flag_values=values)
    define_allow_import(values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if len(positional) < 2 or not values.out:
        raise InputError(
            "jaxir merge needs two models or more, and --out (jaxir merge --help has an example)"
        )
    weights = None if values.weights is None else [_number(text) for text in values.weights]
    from jaxir.config import TRUSTED
    from jaxir.training.merging import merge

    merge(
        positional,
        values.out,
        weights=weights,
        method=values.method,
        to=values.to,
        overwrite=values.overwrite,
        allow=(*TRUSTED, *values.allow_import),
    )
    print(f"written to {values.out}")
    print(f"next: jaxir evaluate --model={values.out} --workdir=DIR --source=...")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"--weights holds {text!r}, which is no number; write --weights=0.5,0.5") from error
