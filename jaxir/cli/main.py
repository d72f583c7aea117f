"""``jaxir COMMAND ...``: finds the command's file, runs it, turns a user's mistake into a sentence."""

from __future__ import annotations

import errno
import importlib
import sys
import types
import warnings
from collections.abc import Sequence
from typing import NoReturn

from absl import flags

from jaxir import processes
from jaxir.checks import InputError, nearest

# One file per command; the line is what `jaxir --help` shows. A dict, not a scan of the folder, so
# that `jaxir --help` answers without importing jax.
COMMANDS = {
    "quickstart": "the whole job on text that every machine has: train, index, evaluate, report",
    "prepare": "read a collection once and write it as a data set for training and evaluation",
    "train": "train an encoder from a config",
    "plan": "what a training run needs of a machine that is not here: memory, time, batch that fits",
    "encode": "encode a collection's documents (or queries) to vectors on disk",
    "index": "build an exact or ScaNN index from vectors",
    "csr": "sparse codes of dense vectors: train a top-k autoencoder, encode with it",
    "search": "search with a query, or with queries from standard input",
    "evaluate": "compare runs, or encode, index, search and measure in one go",
    "mine": "negatives for each query, from an index, BM25 or a run, to train on",
    "rerank": "order the first documents of a run anew, by a cross-encoder or any model",
    "score": "a teacher's scores of documents for each query, to train on",
    "merge": "one model from several of the same start, by their weights",
    "export": "write a trained model as a folder that sentence-transformers loads",
    "frontier": "effectiveness against cost, of finished runs or of a grid that it trains",
    "explain": "the terms that a sparse encoder sees in a text, and why a query finds it",
    "doctor": "check an encoder or an index for silent failures",
}

HELP = """jaxir: neural information retrieval in JAX

usage: jaxir COMMAND [--flag=value ...]

{commands}

jaxir COMMAND --help shows a command's flags and an example."""


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point: exits with 0, or with 2 after one sentence on standard error.

    Of several processes that run a command together, the end of one ends all, with its sentence.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        lines = "\n".join(f"  {name:<12}{line}" for name, line in COMMANDS.items())
        print(HELP.format(commands=lines))
        return
    if argv[0] == "--version":
        import jaxir

        print(jaxir.__version__)
        return
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        _stop(f"unknown command {name!r}.{nearest(name, COMMANDS)} See: jaxir --help")
    warnings.showwarning = _show_warning
    try:
        command = importlib.import_module(f"jaxir.cli.{name.replace('-', '_')}")
        values = flags.FlagValues()  # one per call: commands never share or leak flags
        command.define(values)
        if any(a in ("--help", "-h", "-help") for a in rest):
            print(_help(command, values))
            return
        command.run(values, _parse(name, command, values, rest))
    except InputError as error:
        _stop(str(error))
    except FloatingPointError as error:  # a run that diverged: no mistake of the command line's
        _stop(str(error), 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _stop(f"the disk is full: {error.filename or ''} {error.strerror}".replace("  ", " "))
        if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.EROFS):
            _stop(f"{error.filename}: {error.strerror}")
        raise
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        processes.fail("stopped by hand", 130)


def _parse(name: str, command: types.ModuleType, values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Parses the flags; returns what is no flag. A command may rewrite its arguments beforehand."""
    if hasattr(command, "arguments"):
        argv = command.arguments(argv)
    try:
        return values([f"jaxir {name}", *_underscored(values, argv)])[1:]
    except flags.UnrecognizedFlagError as error:
        hint = nearest(error.flagname, values)
        raise InputError(f"jaxir {name} has no flag --{error.flagname}.{hint}") from error
    except flags.Error as error:
        raise InputError(f"{error} (jaxir {name} --help lists the flags)") from error


def _underscored(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """``--rerank-dims=64`` -> ``--rerank_dims=64``, where there is such a flag; what follows ``--`` stays."""
    spelled, rest = argv, []
    if "--" in argv:
        spelled, rest = argv[: argv.index("--")], argv[argv.index("--") :]

    def one(argument: str) -> str:
        name, equals, value = argument.removeprefix("--").partition("=")
        known = argument.startswith("--") and "-" in name and name.replace("-", "_") in values
        return f"--{name.replace('-', '_')}{equals}{value}" if known else argument

    return [*map(one, spelled), *rest]


def _help(command: types.ModuleType, values: flags.FlagValues) -> str:
    lines = []
    for name in sorted(values):
        flag = values[name]
        if name != flag.name:  # the short form is shown beside the long one
            continue
        short = f", -{flag.short_name}" if flag.short_name else ""
        default = "" if flag.default in (None, "", [], False) else f" (default: {flag.default})"
        lines.append(f"  --{name}{short}\n      {flag.help}{default}")
    return f"{(command.__doc__ or '').strip()}\n\nflags:\n" + "\n".join(lines)


def _show_warning(message: Warning, category: type, filename: str, *_: object) -> None:
    """A warning as a sentence; of other libraries with where it comes from."""
    ours = issubclass(category, UserWarning) and "jaxir" in filename
    where = "" if ours else f"{filename}: {category.__name__}: "
    print(f"note: {where}{message}", file=sys.stderr)


def _stop(sentence: str, status: int = 2) -> NoReturn:
    print(f"jaxir: {sentence}", file=sys.stderr)
    processes.fail(sentence, status)


if __name__ == "__main__":
    main()
