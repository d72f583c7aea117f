"""The doctor at an index of sparse vectors: what is stored, and whether this model would store it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array, vstack

from jaxir.evaluation import doctor, text_checks, vector_checks
from jaxir.evaluation.finding import Finding
from jaxir.files import PathLike
from jaxir.retrieval import rescore, sparse_exact, sparse_vectors
from jaxir.retrieval.index import Index
from jaxir.retrieval.sparse_index import MEASURED_AT
from jaxir.retrieval.vectors import row_blocks
from jaxir.training.checkpoint import Model
from jaxir.types import Doc


def check_index(
    index: Index,
    *,
    model: Model | None = None,
    encode: doctor.Encode | None = None,
    docs: Mapping[str, Doc] | None = None,
    doc_text: Callable[[Doc], str] = lambda doc: doc.text,
    vectors: PathLike | None = None,
) -> list[Finding]:
    """As :func:`jaxir.evaluation.doctor.check_index`, for indexes of sparse vectors.

    Args:
      vectors: the directory that was indexed; without it the index's own copy is read.
    """
    found: list[Finding] = []
    if model is not None:
        encode = encode or doctor.make_encode(model)
        found += text_checks.fingerprints({"model": model.fingerprint, "index": index.manifest.get("model")})
        if model.encoder.dim and model.encoder.dim != index.dim:
            text = f"the model has {model.encoder.dim} terms, the index {index.dim}"
            return [*found, Finding("fail", "vocabulary", text, "encode and index again with this model")]
        how = index.manifest.get("settings") or {}
        if "prefix" in how:
            found += text_checks.prefixes(model.config["prefixes"], {"doc": how["prefix"]})
    rows = np.linspace(0, index.size - 1, min(doctor.SAMPLE, index.size)).astype(int)
    stored = stored_rows(index, rows, vectors)
    tokenizer = None if model is None else model.tokenizer
    found += doctor.check_sparse(stored, what="stored vectors", tokenizer=tokenizer)
    found += _recall(index)
    if encode is not None and docs:
        found += _against(index, encode, docs, doc_text, vectors)
    return found


def stored_rows(index: Index, rows: np.ndarray, vectors: PathLike | None = None) -> csr_array:
    """Some documents' vectors, from the directory that was indexed or the index's own copy."""
    if vectors is not None:
        source = sparse_vectors.read(vectors)
        return rescore.Stored(source.indptr, source.indices, source.values, source.dim).take(rows)
    arrays = index.path / "arrays"
    if index.kind != "sparse":
        return rescore.stored(arrays, index.size, index.dim).take(rows)
    postings = sparse_exact.open(arrays, index.size, index.dim, index.manifest["nnz"])
    parts = []
    for number, docs in enumerate(row_blocks(index.size, sparse_exact.BLOCK_DOCS)):
        mine = rows[(rows >= docs.start) & (rows < docs.stop)] - docs.start
        if len(mine):
            some = slice(int(postings.starts[number]), int(postings.starts[number + 1]))
            values = postings.values[some].astype(np.float32, copy=False)
            by_term = (values, postings.rows[some], postings.indptr[number])
            by_doc = csr_array(by_term, shape=(index.dim, docs.stop - docs.start)).T.tocsr()
            parts.append(csr_array(by_doc)[mine])
    return csr_array(vstack(parts, format="csr"))  # the rows ascend, as the blocks do


def _recall(index: Index) -> list[Finding]:
    """Of an approximate engine, what was measured when the index was built."""
    options = index.manifest.get("options") or {}
    found = []
    for k in MEASURED_AT:
        share = options.get(f"measured_recall@{k}")
        if share is None:
            continue
        text = f"recall@{k} against exact search {share:.3f} on a sample of {options.get('measured_on')}"
        advice = "build again with options that read more of the postings, or take kind sparse"
        level = "fail" if share < 0.8 else "warn" if share < 0.95 else "ok"
        found.append(Finding(level, f"recall@{k}", text, "" if level == "ok" else advice))
    return found


def _against(
    index: Index,
    encode: doctor.Encode,
    docs: Mapping[str, Doc],
    doc_text: Callable[[Doc], str],
    vectors: PathLike | None,
) -> list[Finding]:
    at = {i: row for row, i in enumerate(index.ids.tolist())}
    known: Sequence[tuple[int, Doc]] = sorted(
        (at[i.encode()], doc) for i, doc in docs.items() if i.encode() in at
    )
    found = []
    if len(known) < len(docs):
        text = f"{len(docs) - len(known)} of {len(docs)} documents of the source are not in it"
        found.append(Finding("fail", "documents", text, "encode and index the collection again"))
    if not known:
        return found
    stored = stored_rows(index, np.array([row for row, _ in known]), vectors).toarray()
    fresh = encode([doc_text(doc) for _, doc in known], "doc")
    some = stored.any(axis=1) | fresh.any(axis=1)  # what has no term agrees with what has none
    return found + (vector_checks.agreement(stored[some], fresh[some]) if some.any() else [])
