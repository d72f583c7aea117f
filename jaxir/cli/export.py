"""jaxir export: writes a trained model as a folder that other tools load.

  jaxir export --workdir=runs/squad --to=sentence-transformers --out=exported
  jaxir export --workdir=runs/quickstart --to=jaxir --out=exported

sentence-transformers: config.json, model.safetensors, tokenizer.json, modules.json and prompts, which that
library, mteb and others read; a learned sparse model becomes a folder for its SparseEncoder. jaxir: the
same for encoders that no published architecture describes (static ones among them), read by
jaxir.models.pretrained.load. --layers and --dims cut a smaller model, whose file has these blocks only, and
whose vectors are the first dimensions (of a sparse model: the largest terms) of the whole one's:

  jaxir export --workdir=runs/starbucks --layers=2 --dims=64 --out=exported

Both formats hold a model card with the training data, the config and the figures of
the work directory's reports.
"""

from __future__ import annotations

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_allow_import, define_sizes, size_flag


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "work directory of jaxir train, or a model folder", flag_values=values
    )
    flags.DEFINE_enum(
        "to", "sentence-transformers", ["sentence-transformers", "jaxir"], "format", flag_values=values
    )
    flags.DEFINE_string("out", None, "folder to write", flag_values=values)
    flags.DEFINE_string("step", "best", "checkpoint: best, latest or a number", flag_values=values)
    flags.DEFINE_enum(
        "side", None, ["query", "doc"], "which tower, of a model with separate ones", flag_values=values
    )
    define_sizes(values)
    flags.DEFINE_string("name", None, "title of the model card (default: the folder's)", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace what stands at --out", flag_values=values)
    define_allow_import(values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir export takes flags only, not {positional[0]!r}")
    if not values.workdir or not values.out:
        raise InputError("jaxir export needs --workdir and --out (jaxir export --help has an example)")
    from jaxir.config import TRUSTED
    from jaxir.training.publish import publish

    step = values.step if values.step in ("best", "latest") else _number(values.step)
    publish(
        values.workdir,
        values.out,
        to=values.to,
        step=step,
        side=values.side,
        layers=size_flag(values, "layers"),
        dims=size_flag(values, "dims"),
        name=values.name,
        overwrite=values.overwrite,
        allow=(*TRUSTED, *values.allow_import),
    )
    print(f"written to {values.out}; its README.md is the model card")


def _number(text: str) -> int:
    if not text.isdigit():
        raise InputError(f"--step is {text!r}; give best, latest or the number of a checkpoint")
    return int(text)
