"""jaxir search: searches with a query, or with queries from standard input.

  jaxir search --workdir=runs/squad "who wrote the first compiler?"
  jaxir search --index=runs/squad/scann "who wrote the first compiler?" -k 3
  jaxir search --workdir=runs/squad - < queries.txt

With --workdir it searches that directory's index with its model; with --index another index. The model is
that of --model, of --workdir, or the one that the index names.

An exact index of dense vectors that is larger than a machine's memory is searched by several, each holding
its part of the rows; process 0 reads the queries and shows what all found:

  jaxir search --distributed=auto --workdir=... "who wrote the first compiler?"
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_allow_import, define_processes, start_processes


def define(values: flags.FlagValues) -> None:
    values.set_gnu_getopt(True)  # flags may follow the query
    flags.DEFINE_string(
        "workdir", None, "work directory of jaxir train, or where jaxir evaluate wrote", flag_values=values
    )
    flags.DEFINE_string(
        "model",
        None,
        "work directory, folder of published weights or Hub name (default: the index's own)",
        flag_values=values,
    )
    flags.DEFINE_string("index", None, "what jaxir index wrote", flag_values=values)
    flags.DEFINE_integer("k", None, "results per query (default: 10)", flag_values=values)
    define_allow_import(values)
    define_processes(values)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if not values.workdir and not values.index:
        raise InputError("jaxir search needs --workdir=DIR or --index=DIR")
    query = " ".join(positional).strip()
    if not query:
        raise InputError(
            'the query is empty: jaxir search --workdir=DIR "your words", or - for standard input'
        )
    start_processes(values)
    if values.workdir:
        from jaxir.training.compiled import keep_compiled

        keep_compiled(values.workdir)
    search(values.workdir, values.index, query, values.k, values.allow_import, model=values.model)


def search(
    workdir: str | pathlib.Path | None,
    index_path: str | pathlib.Path | None,
    query: str,
    k: int | None = None,
    allow_import: list[str] | None = None,
    *,
    model: str | pathlib.Path | None = None,
) -> None:
    """Searches and prints; ``query`` "-" reads queries from standard input, one per line.

    Of several processes all search their part, and process 0 reads and prints.
    """
    from jaxir import processes
    from jaxir.config import TRUSTED
    from jaxir.retrieval import codes, find, index, show
    from jaxir.retrieval.model import make_query_fn
    from jaxir.training.checkpoint import load_model
    from jaxir.training.model import is_workdir

    found = index.open(index_path or find.find_index(workdir), over_processes=True)
    k = min(10, found.size) if k is None else k
    index.check_k(k, found.size)
    if model is None:
        model = workdir if workdir and is_workdir(workdir) else find.find_model(found.path)
    loaded = load_model(model, allow=(*TRUSTED, *(allow_import or [])))
    loaded = find.at_its_size(found, loaded)
    find.check_same_model(found, loaded)
    processes.check_same("what they search", dict(k=k, documents=found.size, model=loaded.fingerprint))
    texts = find.open_texts(found)
    shown = processes.is_first()
    if texts is None and shown:
        print("note: the indexed texts are not where they were; showing ids only", file=sys.stderr)
    read = _standard_input() if query == "-" else iter([[query]])
    part = (found.manifest.get("settings") or {}).get("part")  # of a hybrid encoder
    encode = codes.through_autoencoder(found.manifest.get("settings"), make_query_fn(loaded, part=part))
    while queries := processes.from_first("queries", next(read, None) if shown else None):
        vectors = encode(queries)
        scores, rows = found.search(vectors, k)
        for text, values, at in zip(queries, scores, rows) if shown else ():
            show.show(text, show.hits(found, texts, values, at), heading=query == "-")
        if shown and found.kind in index.SPARSE_KINDS:
            empty = sum(vectors.indptr[1:] == vectors.indptr[:-1])
            if empty:
                said = f"{empty} of {len(queries)} queries have no active term: they find nothing"
                print(f"note: {said}", file=sys.stderr)


def _standard_input() -> Iterator[list[str]]:
    """The queries: one by one from a keyboard, all at once from a file."""
    lines = (line.strip() for line in sys.stdin)
    if sys.stdin.isatty():
        yield from ([line] for line in lines if line)
        return
    queries = [line for line in lines if line]
    if not queries:
        raise InputError("standard input holds no query; it takes one per line")
    yield queries
