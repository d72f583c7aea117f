"""``jaxir doctor --sizes``: what smaller sizes of an encoder lose, on a sample of real pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxir.data.prepared import Prepared, qrels_by_id
from jaxir.evaluation import doctor, sizes, stages
from jaxir.evaluation.finding import Finding
from jaxir.evaluation.sizes import SizesFound, Wide, spaced
from jaxir.evaluation.sizes_report import is_trained, loss_notes
from jaxir.models.cut import NAMES
from jaxir.models.trained_sizes import describe_size, trained_sizes
from jaxir.retrieval import encode
from jaxir.retrieval.model import encode_queries, settings
from jaxir.training.checkpoint import Model
from jaxir.types import Encoder

QUERIES, DOCS = 256, 1024
"""The sample: judged queries, at most, and the documents among which theirs are looked for."""

MEASURE = "MRR@10"


def check_sizes(
    model: Model,
    data: Prepared,
    *,
    layers: Sequence[int] | None = None,
    dims: Sequence[int] | None = None,
    progress: bool = True,
) -> list[Finding]:
    """MRR@10 of judged queries among a sample of documents, at every size, against the full one.

    A size that was not trained is a warning with what it loses.

    Args:
      layers, dims: both ascending; default: what was trained, or half of the layers, and a half, a quarter
        and an eighth of the dimensions.

    Raises:
      InputError: sizes that the encoder does not have, unsorted or repeated.
    """
    if model.encoder.kind == "hybrid":
        return [
            finding._replace(check=f"{name}: {finding.check}")
            for name, part in doctor.parts_of(model).items()
            for finding in check_sizes(part, data, layers=layers, dims=dims, progress=progress)
        ]
    if trained_sizes(model.config, model.encoder) is None:
        layers, dims = layers or _few_layers(model.encoder), dims or _few_dims(model.encoder)
    layers, dims = sizes.choose_sizes(model.config, model.encoder, layers, dims)
    # What is lost is lost against the full size.
    layers = tuple(sorted({*layers, model.encoder.layers}))
    dims = tuple(sorted({*dims, model.encoder.dim}))
    split = next((s for s in ("test", "dev", *data.qrels) if s in data.qrels), None)
    if split is None:
        text = f"{data.name} has no judgements: what smaller sizes lose was not measured"
        return [Finding("warn", "sizes", text, "name a data set with judgements: --source=...")]
    return findings_of(measure_sample(model, data, split, layers, dims, progress=progress))


def measure_sample(
    model: Model,
    data: Prepared,
    split: str,
    layers: tuple[int, ...],
    dims: tuple[int, ...],
    *,
    progress: bool = True,
) -> SizesFound:
    """The figures of all sizes on a sample, encoded in memory; costs are not measured."""
    test, rows = sample(data, split)
    encoder, how = model.encoder, settings(model, "doc")
    wide, part, _ = sizes.at_layers(model, None, layers)
    text_of = encode.make_text_fn(how["doc_text"])
    limit = min(how["max_length"], doctor.LOOKED_AT)
    records = data.docs.rows(rows)
    docs = encode.encode_texts(
        encode.make_encode_fn(wide.encoder, model.params),
        [text_of(doc) for doc in records],
        encode.make_tokenize_fn(model.tokenizer, prefix=how["prefix"], max_length=limit),
        max_length=limit,
        desc="documents" if progress else None,
    )
    queries = encode_queries(wide, test.texts, part=part, desc="queries" if progress else None)
    found, notes = sizes.search_sizes(
        Wide(docs, encoder.dim, encoder.normalized),
        Wide(queries, encoder.dim, encoder.normalized),
        [doc.doc_id for doc in records],
        test,
        layers,
        dims,
        free=encoder.table is not None,
        measures=(MEASURE,),
        depth=min(10, len(rows)),
        progress=progress,
    )
    known = trained_sizes(model.config, encoder)
    return SizesFound(
        tuple(found),
        layers,
        dims,
        (MEASURE,),
        None if known is None else frozenset(known),
        (encoder.layers, encoder.dim),
        encoder.kind,
        None,
        len(test.ids),
        len(rows),
        (0, 0),
        {},
        None,
        notes,
    )


def sample(data: Prepared, split: str) -> tuple[stages.Split, list[int]]:
    """Judged queries with judgements of the documents that are looked at, and those documents' rows.

    Of each query's relevant documents at least one is among them; the others are evenly spaced.
    """
    table = data.qrels[split]
    relevant = table.relevance > 0
    query_rows, first = np.unique(table.query_row[relevant], return_index=True)
    chosen = spaced(len(query_rows), QUERIES)
    own = np.unique(table.doc_row[relevant][first[chosen]])
    others = np.setdiff1d(spaced(len(data.docs), DOCS), own)
    others = others[spaced(len(others), max(DOCS - len(own), 0))] if len(others) else others
    rows = np.union1d(own, others).astype(int).tolist()
    names = {doc.doc_id for doc in data.docs.rows(rows)}
    judged = qrels_by_id(data, split)
    queries = data.queries[split].rows(query_rows[chosen].tolist())
    qrels = {
        q.query_id: {doc: grade for doc, grade in judged[q.query_id].items() if doc in names} for q in queries
    }
    return stages.Split([q.query_id for q in queries], [q.text for q in queries], qrels), rows


def findings_of(found: SizesFound) -> list[Finding]:
    """What the doctor says of a grid: the smallest size that was trained, and a warning of the others."""
    where = f"{found.queries:,} queries among {found.docs:,} documents"
    advice = "jaxir evaluate --grid measures every size on a whole collection"
    full = found.value(found.layers[-1], found.dims[-1], MEASURE)
    said = []
    small = [s for s in found.sizes if found.trained and is_trained(found, s.layers, s.dims)]
    if small and full > 0:
        least = min(small, key=lambda s: (s.layers * s.dims, s.dims))
        what = describe_size((least.layers, least.dims), found.whole, NAMES[found.kind])
        kept = least.figures[MEASURE] / full
        text = f"the smallest that was trained, {what}, has {kept:.0%} of {MEASURE} ({full:.3f}; {where})"
        said.append(Finding("ok", "sizes", text))
    said += [Finding("warn", "sizes", f"{note} ({where})", advice) for note in loss_notes(found, MEASURE)]
    return said


def _few_layers(encoder: Encoder) -> tuple[int, ...] | None:
    return tuple(sorted({max(encoder.layers // 2, 1), encoder.layers})) if encoder.layers else None


def _few_dims(encoder: Encoder) -> tuple[int, ...] | None:
    if encoder.kind == "sparse":
        return tuple(k for k in (32, 128) if k < encoder.dim) or None
    return tuple(sorted({max(encoder.dim >> i, 1) for i in range(4)}))
