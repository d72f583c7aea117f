"""Flags that several commands share."""

from __future__ import annotations

from typing import Any

from absl import flags

from jaxir import processes
from jaxir.checks import InputError
from jaxir.config import load_config, override


def define_config(values: flags.FlagValues) -> None:
    """``--config`` and ``--override``, which :func:`arguments` makes of ``--config.KEY=VALUE``."""
    flags.DEFINE_string("config", None, "config NAME or FILE.py, with :VARIANT", flag_values=values)
    flags.DEFINE_multi_string(
        "override", [], "KEY=VALUE of the config; --config.KEY=VALUE is the same", flag_values=values
    )


def arguments(argv: list[str]) -> list[str]:
    """``--config.KEY=VALUE`` -> ``--override=KEY=VALUE``: absl knows no flags with open names."""
    return ["--override=" + a.removeprefix("--config.") if a.startswith("--config.") else a for a in argv]


def read_config(values: flags.FlagValues) -> Any:
    """The config that the flags name, with its changed fields."""
    if not values.config:
        raise InputError("give --config=NAME (such as quickstart or dense) or --config=FILE.py")
    config = load_config(values.config)
    for setting in values.override:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--config.{key} has no value; write --config.{key}=VALUE")
        override(config, key, text)
    return config


def define_model(values: flags.FlagValues) -> None:
    """``--model`` and ``--allow_import``: which model, and what its config may name."""
    flags.DEFINE_string(
        "model",
        None,
        "work directory, folder of published weights or Hub name (default: the one of --workdir)",
        flag_values=values,
    )
    define_allow_import(values)


def open_model(values: flags.FlagValues) -> Any:
    """The model of --model, or of --workdir; what is compiled is kept in the work directory."""
    from jaxir.config import TRUSTED
    from jaxir.training.checkpoint import load_model
    from jaxir.training.compiled import keep_compiled
    from jaxir.training.model import check_workdir

    if values.workdir:
        keep_compiled(values.workdir)
    return load_model(values.model or check_workdir(values.workdir), allow=(*TRUSTED, *values.allow_import))


def local_mesh() -> Any:
    """This process's accelerators, if several; devices of a CPU share its cores and gain little."""
    import jax

    from jaxir.training.mesh import make_mesh

    if jax.local_device_count() == 1 or jax.default_backend() == "cpu":
        return None
    return make_mesh(devices=jax.local_devices())


def define_allow_import(values: flags.FlagValues) -> None:
    """``--allow_import``: a config that is found beside weights is data and names trusted packages only."""
    flags.DEFINE_multi_string(
        "allow_import", [], "package that the model's config may name", flag_values=values
    )


def define_processes(values: flags.FlagValues) -> None:
    """``--distributed``, ``--process_count``, ``--process_index``, ``--join_timeout``: many processes."""
    flags.DEFINE_string(
        "distributed",
        None,
        "auto (TPU pod, SLURM, Open MPI, GKE), or HOST:PORT of process 0 (default: this process is alone)",
        flag_values=values,
    )
    flags.DEFINE_integer("process_count", None, "number of processes, for HOST:PORT", flag_values=values)
    flags.DEFINE_integer("process_index", None, "this process's number, from 0", flag_values=values)
    flags.DEFINE_float(
        "join_timeout", processes.TIMEOUT, "seconds in which all processes must have come", flag_values=values
    )


def start_processes(values: flags.FlagValues, *, preemptible: bool = False) -> None:
    """Joins the processes of :func:`define_processes`; before anything that touches a device.

    ``preemptible``: for a command that saves on SIGTERM instead of ending there.
    """
    processes.start(
        values.distributed,
        values.process_count,
        values.process_index,
        timeout=values.join_timeout,
        preemptible=preemptible,
    )


def define_sizes(values: flags.FlagValues) -> None:
    """``--layers`` and ``--dims``: a smaller size of an encoder, or of a grid the sizes along each side."""
    flags.DEFINE_string("layers", None, "how many blocks compute (default: all)", flag_values=values)
    flags.DEFINE_string(
        "dims", None, "first dimensions, or active terms, that are kept (default: all)", flag_values=values
    )


def size_flag(values: flags.FlagValues, name: str) -> int | None:
    """The one number of ``--layers`` or ``--dims``, or None.

    Raises:
      InputError: a list, or no whole number above 0.
    """
    found = sizes_flag(values, name)
    if found and len(found) > 1:
        raise InputError(f"--{name}={values[name].value}: expected one number; lists are for evaluate --grid")
    return found[0] if found else None


def sizes_flag(values: flags.FlagValues, name: str) -> tuple[int, ...] | None:
    """The numbers of ``--layers=1,2,4`` or ``--dims``, rising, or None where the flag is not given.

    Raises:
      InputError: no whole numbers above 0, or not from small to large.
    """
    text = values[name].value
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--{name}={text}: expected whole numbers above 0, such as --{name}=2,4,6")
    found = tuple(int(part) for part in parts)
    if list(found) != sorted(set(found)):
        raise InputError(f"--{name}={text}: expected numbers from small to large, each once")
    return found
