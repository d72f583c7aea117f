"""The docstrings of the Python packages installed beside this interpreter: real text on every machine.

A document is the body of a docstring, its query is the summary line, its id and title are the public
dotted name. Which packages are read is fixed, so that whatever else is installed does not change the
task; they are read as source files and never imported. Splits go by a hash of the name: a new version
of a package moves no pair from one split to another.

The task is honest: a body that begins by repeating its summary loses that part, a summary or body that
occurs twice is kept once, and the title is not part of the text.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tqdm import tqdm

from jaxir.checks import InputError
from jaxir.data import docstrings
from jaxir.data.public_names import Modules, is_public, public_names
from jaxir.types import Doc, Qrel, Query, Source

# The standard library first: where two packages describe the same thing in the same words, the
# earlier one keeps it.
PACKAGES = (
    *("stdlib", "numpy", "scipy", "jax", "flax", "optax", "orbax", "matplotlib"),
    *("huggingface_hub", "tensorflow_datasets", "rich", "grain", "absl", "ml_collections"),
    *("rax", "tqdm", "fsspec", "PIL"),  # dependencies of the dependencies count as well
)
SKIPPED_FOLDERS = frozenset(
    [
        *("tests", "test", "testing", "_tests", "idle_test", "internal_test_util", "benchmarks"),
        *("examples", "_examples", "_lib", "_precompute", "_vendor", "pydoc_data", "__pycache__"),
        *("site-packages", "dist-packages", "ensurepip"),
        *("distutils", "lib2to3", "idlelib", "turtledemo"),  # not in every Python version
    ]
)
MIN_SUMMARY_WORDS, MAX_SUMMARY_WORDS = 3, 32
MIN_BODY_WORDS = 12
TRAIN_PERCENT, DEV_PERCENT = 80, 8


def open(argument: str = "", *, progress: bool = True) -> Source:
    """The docstrings as a source with splits train, dev and test.

    Args:
      argument: comma-separated names out of :data:`PACKAGES`; empty means all of them.
      progress: shows a progress bar on standard error.

    Raises:
      InputError: a package that is not in the list, or is not installed.
    """
    packages = [p for p in argument.split(",") if p] or list(PACKAGES)
    pairs = read_pairs(packages, progress=progress)
    queries: dict[str, list[Query]] = {"train": [], "dev": [], "test": []}
    qrels: dict[str, list[Qrel]] = {"train": [], "dev": [], "test": []}
    for pair in pairs:
        split = split_of(pair.name)
        queries[split].append(Query(pair.name, pair.summary))
        qrels[split].append(Qrel(pair.name, pair.name, 1))
    docs = [Doc(pair.name, pair.name, pair.body) for pair in pairs]
    return Source("pydocs", docs, queries, qrels)


class Pair(NamedTuple):
    name: str
    summary: str
    body: str


def split_of(name: str) -> str:
    """ "train", "dev" or "test", by a hash of the name alone.

    >>> [split_of(n) for n in ("numpy.linalg.solve", "scipy.linalg.solve", "json.dumps")]
    ['train', 'train', 'train']
    """
    bucket = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") % 100
    if bucket < TRAIN_PERCENT:
        return "train"
    return "dev" if bucket < TRAIN_PERCENT + DEV_PERCENT else "test"


def read_pairs(packages: Iterable[str], *, progress: bool = True) -> list[Pair]:
    """Name, summary and body of every public docstring of the packages; of equal ones the first."""
    files = {p: dict(_source_files(p)) for p in packages}
    facts = _read_files([path for found in files.values() for path in found.values()], progress)
    pairs: list[Pair] = []
    seen: set[str] = set()
    for found in files.values():
        modules = {module: facts[path] for module, path in found.items()}
        for pair in sorted(_pairs(modules), key=lambda p: (p.name.count("."), p)):
            keys = {pair.name, _plain(pair.summary), _plain(pair.body)}
            if not keys & seen:
                pairs.append(pair)
                seen |= keys
    return pairs


def _pairs(modules: Modules) -> Iterator[Pair]:
    names = public_names(modules)
    for module, facts in modules.items():
        for inner, docstring in facts["docs"]:
            outer, _, rest = inner.partition(".")
            name = names.get((module, outer)) if inner else module
            parts = split_docstring(docstring) if name and is_public(name) else None
            if parts is not None:
                yield Pair(f"{name}.{rest}" if rest else str(name), *parts)


def split_docstring(docstring: str) -> tuple[str, str] | None:
    """(summary, body), or None where one of them has too few words to search for or to find.

    The summary is the first paragraph, up to a list of fields or an example; a signature before it,
    as C functions have, is passed over. A body that begins by repeating the summary loses that part.

    >>> split_docstring("Solve a system.\\n\\nSolve a system.\\n\\nParameters\\n" + "word " * 12)[1][:15]
    'Parameters\\nword'
    """
    lines = [line for line in docstring.strip().split("\n") if not _UNDERLINE.match(line)]
    while lines and (not lines[0].strip() or _SIGNATURE.match(lines[0])):
        lines = lines[1:]
    end = next((i for i, line in enumerate(lines) if not line.strip() or _FIELD.match(line)), len(lines))
    summary = " ".join(" ".join(lines[:end]).split())
    body = "\n".join(lines[end:]).strip()
    if not MIN_SUMMARY_WORDS <= len(summary.split()) <= MAX_SUMMARY_WORDS:
        return None
    needle, plain = _plain(summary), _plain(body)
    while needle and plain.startswith(needle):
        body, plain = _after(body, len(needle)), plain[len(needle) :]
    if len(body.split()) < MIN_BODY_WORDS or needle in plain:
        return None
    return summary, body


_UNDERLINE = re.compile(r"^\s*([=~*#-])\1{2,}\s*$")
_SIGNATURE = re.compile(r"^\s*[\w.]+\s*\([^)]*\)?.*(->.*|\))\s*:?\s*$")
_FIELD = re.compile(r"^\s*(:\w+|>>>|@\w+|\.\. |(Args|Arguments|Parameters|Returns|Raises|Examples?)\s*:?$)")


def _plain(text: str) -> str:
    """Letters and digits only, in lower case: equal for texts that differ in form alone."""
    return _NOT_WORD.sub("", text.lower())


_NOT_WORD = re.compile(r"[\W_]+")


def _after(text: str, count: int) -> str:
    """The text after its first ``count`` letters and digits, and what ends their sentence."""
    for i, c in enumerate(text):
        count -= bool(_plain(c))
        if count == 0:
            return text[i + 1 :].lstrip(" .:;,!?-\n\t`*'\"")
    return ""


def _source_files(package: str) -> Iterator[tuple[str, str]]:
    """(dotted module name, path) of a package's source files, sorted, tests left out."""
    if package not in PACKAGES:
        raise InputError(f"pydocs does not read {package!r}; it reads {', '.join(PACKAGES)}")
    if package == "stdlib":
        yield from _walk(pathlib.Path(sysconfig.get_path("stdlib")), "")
        return
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"pydocs reads the docstrings of {package}, which is not installed")
    for location in sorted(spec.submodule_search_locations):
        yield from _walk(pathlib.Path(location), package)


def _walk(folder: pathlib.Path, dotted: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        stem, suffix = os.path.splitext(entry.name)
        if entry.is_dir():
            if entry.name.isidentifier() and entry.name not in SKIPPED_FOLDERS:
                yield from _walk(pathlib.Path(entry.path), f"{dotted}.{entry.name}".lstrip("."))
        elif suffix == ".py" and stem.isidentifier() and not _TEST_FILE.match(stem):
            module = dotted if stem == "__init__" else f"{dotted}.{stem}".lstrip(".")
            yield module, entry.path


_TEST_FILE = re.compile(r"^(test_.*|.*_test|conftest)$")


def _read_files(paths: list[str], progress: bool) -> dict[str, Any]:
    """:func:`jaxir.data.docstrings.read_module` of every file, by one process per core."""
    waiting = sorted(paths, key=os.path.getsize)  # popped from its end: the largest file first
    facts: dict[str, Any] = {}
    bar = tqdm(total=len(paths), desc="read", unit=" files", disable=not progress, mininterval=0.5)

    def work() -> None:
        with subprocess.Popen(
            [sys.executable, "-I", "-S", docstrings.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        ) as process:
            while True:
                try:
                    path = waiting.pop()
                except IndexError:
                    break
                process.stdin.write(path + "\n")
                process.stdin.flush()
                facts[path] = json.loads(process.stdout.readline())
                bar.update()

    with bar, concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done in [pool.submit(work) for _ in range(pool._max_workers)]:
            done.result()
    return facts
