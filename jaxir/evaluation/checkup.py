"""The doctor's visit: opens a work directory or an index, runs every check that applies, shows them."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxir.checks import InputError
from jaxir.config import TRUSTED, Allow
from jaxir.data import prepared as store
from jaxir.data.prepare import prepare_spec
from jaxir.data.prepared import Prepared
from jaxir.evaluation import doctor, sizes_check, sparse_visit
from jaxir.evaluation.finding import Finding
from jaxir.evaluation.measures import DEFAULT_MEASURES
from jaxir.files import MANIFEST, PathLike
from jaxir.retrieval import index as indexes
from jaxir.retrieval import vectors as vector_files
from jaxir.retrieval.encode import make_text_fn
from jaxir.retrieval.find import at_its_size, find_model
from jaxir.retrieval.index import Index
from jaxir.training.checkpoint import Model, load_model
from jaxir.training.model import check_workdir
from jaxir.types import Doc


def examine(
    *,
    workdir: PathLike | None = None,
    model: PathLike | None = None,
    index: PathLike | None = None,
    source: str | None = None,
    vectors: PathLike | None = None,
    measures: Sequence[str] = DEFAULT_MEASURES,
    allow: Allow = TRUSTED,
    sizes: bool = False,
    layers: Sequence[int] | None = None,
    dims: Sequence[int] | None = None,
) -> list[Finding]:
    """Checks a model, its data set and its indexes, or one index.

    Args:
      workdir: of ``jaxir train``. Without ``index`` the indexes in it are checked as well.
      model: what :func:`load_model` takes; by default the one of ``workdir``.
      index: an index directory. Without the other two the model is the one that its manifest names.
      source: the data set to take texts from; by default the one that was trained on or indexed.
      vectors: the directory that ``index`` was built from, which approximate indexes do not contain.
      measures: that the perfect run must score 1 on.
      allow: packages that the model's config may name.
      sizes, layers, dims: whether to measure what smaller sizes lose, and which (:mod:`.sizes_check`).

    Raises:
      InputError: neither given, something that is not what it should be, or no data set to be found.
    """
    if workdir is None and index is None and model is None:
        raise InputError("give a work directory, a model or an index")
    if index is not None:
        opened = [indexes.open(index, verify=True)]
    elif workdir is None:
        opened = []
    else:
        home = pathlib.Path(str(workdir))
        found = [*home.glob(f"index/{MANIFEST}"), *sorted(home.glob(f"retrieval/*/index-*/{MANIFEST}"))]
        opened = [indexes.open(path.parent, verify=True) for path in found]
    if model is None and workdir is not None:
        model = check_workdir(workdir)
    if model is None:
        with contextlib.suppress(InputError):  # the index is then checked by itself
            model = find_model(opened[0].path)
    loaded = load_model(model, allow=allow) if model is not None else None
    findings = []
    data = _data(loaded, opened[0] if index is not None else None, source, workdir)
    parts = doctor.parts_of(loaded) if loaded is not None else {}
    encode = doctor.make_encode(loaded) if loaded is not None and not parts else None
    if loaded is not None and data is not None:
        docs, queries = sample_texts(data, loaded)
        findings += doctor.check_model(loaded, docs, queries, encode=encode)
    if data is not None:
        findings += doctor.check_data(data, measures=measures)
    if sizes and (loaded is None or data is None):
        raise InputError("smaller sizes are of a model: name it with --workdir or --model")
    if sizes:
        findings += sizes_check.check_sizes(loaded, data, layers=layers, dims=dims)
    for one in opened:
        part = (one.manifest.get("settings") or {}).get("part")
        asked = parts.get(part, loaded)
        mine = asked and at_its_size(one, asked)
        checked = check_index(one, mine, data, vectors, encode=encode if mine is asked else None)
        findings += [f._replace(check=f"{one.path.name}: {f.check}") for f in checked]
    return findings


def sample_texts(data: Prepared, model: Model) -> tuple[list[str], list[str]]:
    """Evenly spaced documents and queries, what of them is encoded; queries of a held-out split."""
    text = make_text_fn(model.config["data"]["doc_text"])
    docs = [text(doc) for doc in data.docs.rows(_spaced(len(data.docs)))]
    splits = [s for s in ("test", "dev", *data.queries) if s in data.queries]
    if not splits:
        return docs, docs
    records = data.queries[splits[0]]
    return docs, [query.text for query in records.rows(_spaced(len(records)))]


def _spaced(n: int) -> list[int]:
    return np.linspace(0, n - 1, min(n, doctor.SAMPLE)).astype(int).tolist()


def _data(
    model: Model | None, index: Index | None, source: str | None, workdir: PathLike | None
) -> Prepared | None:
    """The data set to look at: the one that was named, or that the index or the training came from."""
    if source:
        return prepare_spec(source, pathlib.Path(workdir or ".") / "data")
    places = []
    if index is not None and index.manifest.get("source"):
        places.append(index.manifest["source"].get("path"))
    if model is not None:
        places += model.config.get("prepared") or []
    for place in places:
        if place and (pathlib.Path(place) / MANIFEST).is_file():
            return store.load(place)
    if model is not None:
        raise InputError(
            f"the data set of {workdir or model.path} is not at {places or 'any known place'}; "
            "name one to take texts from: --source=..."
        )
    return None


def check_index(
    index: Index,
    model: Model | None,
    data: Prepared | None,
    vectors: PathLike | None,
    *,
    encode: doctor.Encode | None = None,
) -> list[Finding]:
    """:func:`jaxir.evaluation.doctor.check_index` with what can be found around the index."""
    if vectors is None and (index.path.parent / "vectors" / MANIFEST).is_file():
        vectors = index.path.parent / "vectors"
    stored = None
    sparse = index.kind in indexes.SPARSE_KINDS
    if index.kind == "exact":
        stored = vector_files.open_array(index.path / "arrays" / "vectors.npy")
    elif vectors is not None and not sparse:
        stored = vector_files.read(vectors).values
    if stored is not None and len(stored) != index.size:
        raise InputError(f"{vectors} holds {len(stored)} vectors, {index.path} {index.size}")
    findings: list[Finding] = []
    docs: dict[str, Doc] = {}
    queries: list[str] = []
    own = _own_data(index, data)
    if own is not None and model is not None:
        docs = {doc.doc_id: doc for doc in own.docs.rows(_spaced(len(own.docs)))}
        queries = sample_texts(own, model)[1]
    elif own is None and index.manifest.get("source"):
        text = f"the texts of {index.manifest['source'].get('name')} are not where they were indexed from"
        findings.append(Finding("warn", "source", text, "name that data set: --source=..."))
    text_of = make_text_fn(model.config["data"]["doc_text"]) if model is not None else make_text_fn()
    if sparse:
        return findings + sparse_visit.check_index(
            index, model=model, encode=encode, docs=docs, doc_text=text_of, vectors=vectors
        )
    return findings + doctor.check_index(
        index, model=model, encode=encode, docs=docs, doc_text=text_of, queries=queries, vectors=stored
    )


def _own_data(index: Index, data: Prepared | None) -> Prepared | None:
    """The data set that was indexed: the given one, or the one at the place that was noted."""
    source = index.manifest.get("source") or {}
    candidates = [data]
    with contextlib.suppress(InputError, KeyError, TypeError):
        candidates.append(store.load(source["path"]))
    same = [d for d in candidates if d is not None and d.fingerprint == source.get("fingerprint")]
    return same[0] if same else None


def show(findings: Sequence[Finding]) -> None:
    """Prints the findings, failures last, with what to do about each."""
    from jaxir.evaluation import terminal

    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}

    def spans(finding: Finding) -> list[terminal.Span]:
        advice = f"\n-> {finding.what_to_do}" if finding.what_to_do else ""
        return [(finding.check, "bold"), (f": {finding.message}", ""), (advice, "italic")]

    ordered = sorted(findings, key=lambda f: list(colours).index(f.level))
    counts = {level: sum(f.level == level for f in findings) for level in colours}
    terminal.show_list(
        [((f.level, colours[f.level]), spans(f)) for f in ordered],
        summary=f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed",
    )
