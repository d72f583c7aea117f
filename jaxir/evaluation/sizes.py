"""Every size of an encoder, all (layers, dims), evaluated in one pass over a collection.

One forward pass gives all layers, whose representations are written side by side as one vectors directory.
A size is then a slice of columns, cut, normalised again and searched exactly in memory.

    found = sizes.evaluate_sizes(model, prepared, workdir)
    found.value(2, 64, "nDCG@10"), found.seconds["encode"]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from jaxir import processes
from jaxir.checks import InputError, check_positive
from jaxir.data.prepared import Prepared
from jaxir.evaluation import stages
from jaxir.evaluation.measures import DEFAULT_MEASURES, measure, parse
from jaxir.evaluation.sizes_cut import Wide, bytes_per_row, searcher, side_by_side
from jaxir.evaluation.sizes_time import time_layers
from jaxir.evaluation.stages import Clock, Split
from jaxir.files import PathLike, fingerprint
from jaxir.models.cut import check_size
from jaxir.models.trained_sizes import trained_sizes
from jaxir.objectives.nesting import check_ascending
from jaxir.retrieval import runs, sparse_vectors, vectors
from jaxir.retrieval.encode import make_text_fn
from jaxir.retrieval.model import encode_queries, encoder_of
from jaxir.training.checkpoint import Model
from jaxir.types import Encoder

MOST = 6
"""Layers and widths that are chosen by default, each."""

TERMS = (16, 32, 64, 128, 256)
"""Active terms of sparse encoders that are chosen by default, beside all of them."""

SAMPLE = 256
"""Documents among which those of about mean length are timed."""

TIMED, MOST_SECONDS = 50, 1.0
"""Queries of a size that are searched one at a time, at most, and for how long."""


class SizeFound(NamedTuple):
    """One size: what it finds and what it costs."""

    layers: int  # 0: the encoder has none to choose from
    dims: int  # dimensions, or active terms
    figures: dict[str, float]  # measure -> mean
    milliseconds_per_text: float
    bytes_per_document: float
    milliseconds_per_query: float  # of the exact search of a query that comes alone


class SizesFound(NamedTuple):
    """What :func:`evaluate_sizes` found."""

    sizes: tuple[SizeFound, ...]  # layer by layer, the largest last
    layers: tuple[int, ...]
    dims: tuple[int, ...]
    measures: tuple[str, ...]
    trained: frozenset[tuple[int, int]] | None  # None: the config says nothing of sizes
    whole: tuple[int, int]  # the encoder's own size
    kind: str
    bm25: dict[str, float] | None
    queries: int
    docs: int
    timed: tuple[int, int]  # texts and tokens of each that milliseconds_per_text was measured on
    seconds: dict[str, float]  # encode, time, search, measure, bm25
    home: Any  # where the vectors lie
    notes: tuple[str, ...]

    def value(self, layers: int, dims: int, measure: str) -> float:
        """The figure of one size."""
        return next(s.figures[measure] for s in self.sizes if (s.layers, s.dims) == (layers, dims))

    def name(self, dims: int) -> str:
        """A width in a table: ``all`` terms of a sparse encoder."""
        return "all" if self.kind == "sparse" and dims == self.whole[1] else f"{dims}"


def evaluate_sizes(
    model: Model,
    prepared: Prepared,
    workdir: PathLike,
    *,
    layers: Sequence[int] | None = None,
    dims: Sequence[int] | None = None,
    part: str | None = None,
    split: str = "test",
    measures: str | Sequence[str] = DEFAULT_MEASURES,
    depth: int = 100,
    bm25: bool = True,
    language: str = "en",
    mesh: Mesh | None = None,
    progress: bool = True,
) -> SizesFound:
    """Encodes the corpus once at all layers, searches the judged queries of ``split`` at every size.

    What was encoded is used again by other widths of the same layers; an encoding that was stopped is gone on
    with. Several processes encode a part each, and search everything.

    Args:
      layers, dims: both ascending; default :func:`choose_sizes`.
      part: which representation of a hybrid encoder.
      measures, depth, bm25, language, mesh, progress: as of :func:`jaxir.evaluation.chain.evaluate_chain`.

    Raises:
      InputError: sizes that the encoder does not have, unsorted or repeated; a hybrid and no part; an encoder
        of one vector per token; an unknown split or measure.
    """
    asked = tuple(parse(measures))
    check_positive("depth", depth)
    encoder = encoder_of(model, part)
    layers, dims = choose_sizes(model.config, encoder, layers, dims)
    test = stages.read_split(prepared, split)
    clock, bar = Clock(), "queries" if progress else None
    facts = dict(model=model.fingerprint, source=prepared.fingerprint, split=split, part=part)
    processes.check_same("what they evaluate", facts | dict(layers=layers, dims=dims, depth=depth))
    home = stages.home_of(model, prepared, workdir, part=part)
    wide, part, name = at_layers(model, part, layers)
    with clock("encode"):
        path = stages.encode_docs(
            wide,
            prepared,
            home / name,
            part=part,
            model_path=model.path or workdir,
            mesh=mesh,
            progress=progress,
        )
        stored: Any = (sparse_vectors if encoder.kind == "sparse" else vectors).read(path)
        docs = stored.rows() if encoder.kind == "sparse" else stored.values
        queries = encode_queries(wide, test.texts, part=part, mesh=mesh, desc=bar)
    with clock("time"):
        text_of = make_text_fn(model.config["data"]["doc_text"])
        texts = [text_of(doc) for doc in prepared.docs.rows(spaced(len(prepared.docs), SAMPLE))]
        timed, milliseconds = time_layers(model, encoder, layers, texts)
    found, notes = search_sizes(
        Wide(docs, encoder.dim, encoder.normalized),
        Wide(queries, encoder.dim, encoder.normalized),
        stored.ids,
        test,
        layers,
        dims,
        free=encoder.table is not None,
        milliseconds=milliseconds,
        measures=asked,
        depth=min(depth, len(prepared.docs)),
        clock=clock,
        progress=progress,
    )
    lexical = None
    if bm25:
        with clock("bm25"):
            index = stages.lexical_index(model, prepared, stored.ids, language, progress)
            run = stages.search_words(index, test, min(depth, len(prepared.docs)))
            lexical = measure(run, test.qrels, asked).mean
    known = trained_sizes(model.config, encoder)
    return SizesFound(
        tuple(found),
        layers,
        dims,
        asked,
        None if known is None else frozenset(known),
        (encoder.layers, encoder.dim),
        encoder.kind,
        lexical,
        len(test.ids),
        len(prepared.docs),
        timed,
        clock.seconds,
        home,
        notes,
    )


def choose_sizes(
    config: Any, encoder: Encoder, layers: Sequence[int] | None = None, dims: Sequence[int] | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The grid's layers and widths, ascending; layers are (0,) where there are none to choose from.

    What is not given is what the config says was trained, with the full size; where it says nothing, evenly
    spaced layers and widths that halve from the full one; active terms of sparse encoders are
    :data:`TERMS` and all.

    Raises:
      InputError: sizes that the encoder does not have, unsorted or repeated; an encoder that gives other than
        one vector per text.

    >>> choose_sizes({}, Encoder(init=None, encode=None, dim=384, layers=12))
    ((2, 4, 6, 8, 10, 12), (12, 24, 48, 96, 192, 384))
    """
    if encoder.kind not in ("dense", "sparse"):
        raise InputError(
            f"the encoder gives {encoder.kind!r} representations; a grid is of 'dense' or 'sparse' vectors"
        )
    for what, given in (("layers", layers), ("dims", dims)):
        if given is not None:
            check_ascending(what, tuple(given))
            for one in given:
                check_size(encoder, **{what: one})
    known = [
        s for s in trained_sizes(config, encoder) or () if s[0] <= encoder.layers and s[1] <= encoder.dim
    ]
    if layers is None:
        even = np.linspace(0, encoder.layers, min(MOST, max(encoder.layers, 1)) + 1).round().astype(int)[1:]
        layers = {*(s[0] for s in known), encoder.layers} if known else even.tolist()
    if dims is None:
        halves = [encoder.dim >> i for i in range(MOST) if encoder.dim >> i]
        usual = [k for k in TERMS if k < encoder.dim] if encoder.kind == "sparse" else halves
        dims = {*((s[1] for s in known) if known else usual), encoder.dim}
    return tuple(sorted(layers)), tuple(sorted(dims))


def at_layers(model: Model, part: str | None, layers: tuple[int, ...]) -> tuple[Model, str | None, str]:
    """The model (and its part) that encodes at these layers side by side; its vectors' directory."""
    encoder = encoder_of(model, part)
    if layers in ((0,), (encoder.layers,)):  # the vectors of the ordinary chain
        return model, part, "vectors"
    name = fingerprint(model.fingerprint, part, "layers", layers)
    wide = model._replace(encoder=side_by_side(encoder, layers), fingerprint=name)
    return wide, None, "vectors-layers-" + "-".join(map(str, layers))


def search_sizes(
    docs: Wide,
    queries: Wide,
    ids: Sequence[str] | np.ndarray,
    test: Split,
    layers: Sequence[int],
    dims: Sequence[int],
    *,
    free: bool = False,
    milliseconds: Sequence[float] | None = None,
    measures: Sequence[str] = DEFAULT_MEASURES,
    depth: int = 100,
    clock: Clock | None = None,
    progress: bool = True,
) -> tuple[list[SizeFound], tuple[str, ...]]:
    """The figures of all sizes of what is encoded, and notes on them.

    Args:
      docs, queries: at these layers, in this order.
      ids: of the documents.
      free: the queries are bags of words, the same at every size.
      milliseconds: per text, of each layer.
    """
    clock, found, notes = clock or Clock(), [], {}
    bar = tqdm(
        total=len(layers) * len(dims), desc="sizes", unit=" sizes", disable=not progress, mininterval=0.5
    )
    for number, layer in enumerate(layers):
        with clock("search"):
            doc_rows = docs.layer(number)
            query_rows = queries.values if free else queries.layer(number)
        for width in dims:
            with clock("search"):
                cut_docs = docs.cut(doc_rows, width)
                asked = query_rows if free else queries.cut(query_rows, width)
                search = searcher(cut_docs)
                scores, rows = search(asked, depth)
                alone = _milliseconds(search, asked, depth)
            with clock("measure"):
                measured = measure(runs.from_arrays(scores, rows, test.ids, ids), test.qrels, measures)
            notes |= dict.fromkeys(measured.notes)
            per_text = milliseconds[number] if milliseconds else 0.0
            costs = (per_text, bytes_per_row(cut_docs), alone)
            found.append(SizeFound(layer, width, measured.mean, *costs))
            bar.update()
    bar.close()
    return found, tuple(notes)


def _milliseconds(search: Any, queries: Any, depth: int) -> float:
    """The median of queries that come one at a time."""
    seconds: list[float] = []
    began = time.perf_counter()
    search(queries[[0]], depth)  # compiles, where search does
    for row in spaced(queries.shape[0], TIMED):
        start = time.perf_counter()
        search(queries[[row]], depth)
        seconds.append(time.perf_counter() - start)
        if time.perf_counter() - began > MOST_SECONDS:
            break
    return 1e3 * statistics.median(seconds)


def spaced(n: int, most: int) -> list[int]:
    """At most so many of n rows, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(int).tolist()
