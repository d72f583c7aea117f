"""Approximate sparse search with Seismic: posting lists cut into blocks of similar documents with summaries.

Bruch, Nardini, Rulli, Venturini, Efficient Inverted Indexes for Approximate Retrieval over Learned Sparse
Representations, SIGIR 2024. Needs the extra ``seismic``. What version 0.5 does and this file handles:

- Components are 16-bit; above 65,536 terms that occur the class for large vocabularies is taken.
- A batch's results come back in any order, told apart by the query's name only, and not at all for a query
  without results.
- A block is skipped if its summary scores below ``heap_factor`` times the k-th score so far: a higher factor
  prunes more, and 1 is no guarantee, because summaries are cut. (The paper divides by the factor.)
- Documents without terms are left out; weights are kept in 16 bits; it writes to standard output.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxir.checks import InputError, check_positive
from jaxir.retrieval.native import quiet, writing
from jaxir.retrieval.rescore import Candidates, renumbered, used_terms
from jaxir.retrieval.sparse_vectors import SparseRows, SparseVectors
from jaxir.retrieval.topk import NOT_FOUND
from jaxir.retrieval.vectors import open_array, row_blocks, save_array

SMALL = 1 << 16
"""Terms that 16 bits can number."""

LARGEST = 65504.0
"""The largest 16-bit float."""

NAME = "index"
FILE = f"{NAME}.index.seismic"
DOCS_AT_ONCE = 1 << 16


def library() -> Any:
    """The module ``seismic``.

    Raises:
      InputError: it is not installed.
    """
    try:
        import seismic
    except ImportError as error:
        raise InputError("a Seismic index needs the extra seismic: pip install 'jaxir[seismic]'") from error
    return seismic


def build(
    source: SparseVectors,
    directory: pathlib.Path,
    *,
    n_postings: int = 3500,
    centroid_fraction: float = 0.1,
    min_cluster_size: int = 2,
    summary_energy: float = 0.4,
    max_fraction: float = 1.5,
    doc_cut: int = 15,
    neighbours: int = 0,
    threads: int = 0,
    query_cut: int = 10,
    heap_factor: float = 0.8,
    reorder: float = 2,
    progress: bool = True,
) -> dict[str, Any]:
    """Builds Seismic's index and writes its files; returns what it was built with.

    Args:
      n_postings: documents kept per term, on average; the largest weights of the collection stay.
      centroid_fraction: blocks per list, as a share of its documents.
      min_cluster_size: smaller blocks are joined.
      summary_energy: the share of a block's weight that its summary keeps.
      max_fraction: no list is longer than this times ``n_postings``.
      doc_cut: terms of a document that count when it is put into a block.
      neighbours: of each document, that refine what is found; building them takes long.
      threads: for building; 0 = all cores.
      query_cut, heap_factor, reorder: the defaults of :func:`open`.

    Raises:
      InputError: an option out of range, or a weight that 16 bits cannot hold.
    """
    options = dict(
        n_postings=n_postings,
        centroid_fraction=centroid_fraction,
        min_cluster_size=min_cluster_size,
        summary_energy=summary_energy,
        max_fraction=max_fraction,
        doc_cut=doc_cut,
    )
    for name, value in options.items():
        check_positive(name, value)
    _check_search(query_cut, heap_factor, reorder)
    if len(source.values) and source.values.max() > LARGEST:
        raise InputError(
            f"a weight is {source.values.max():g}, Seismic keeps 16-bit floats up to {LARGEST:g}: scale the "
            "vectors"
        )
    terms = used_terms(source)
    large = len(terms) > SMALL
    dataset = getattr(library(), "SeismicDatasetLV" if large else "SeismicDataset")(dim=len(terms))
    for some in row_blocks(source.shape[0], DOCS_AT_ONCE):
        rows = renumbered(source.rows(some), terms)
        dataset.add_documents_by_id(
            [str(row) for row in range(some.start, some.stop)],
            rows.indices.astype(np.int64),
            rows.data,
            rows.indptr.astype(np.int64),
        )
    with quiet(show=progress), writing(directory):
        index = _index(large).build_from_dataset(dataset, **options, nknn=neighbours, num_threads=threads)
        index.save(str(directory / NAME))
    save_array(directory / "terms.npy", terms)
    searched = dict(query_cut=query_cut, heap_factor=heap_factor, reorder=reorder)
    return {**options, "neighbours": neighbours, "large": large, **searched}


def open(
    directory: pathlib.Path,
    facts: dict[str, Any],
    *,
    query_cut: int | None = None,
    heap_factor: float | None = None,
    reorder: float | None = None,
    threads: int = 0,
) -> tuple[Candidates, float]:
    """(the engine, how many candidates it is asked for as a multiple of k).

    Args:
      facts: what :func:`build` returned.
      query_cut: the query's terms whose lists are read, the heaviest; scores count all.
      heap_factor: higher prunes more (see above); 0 reads every block of these lists.
      reorder: candidates that get exact scores, as a multiple of k.
      threads: for a batch of queries; 0 = all cores.

    Raises:
      InputError: files that Seismic cannot read, or an option out of range.
    """
    query_cut = facts["query_cut"] if query_cut is None else query_cut
    heap_factor = facts["heap_factor"] if heap_factor is None else heap_factor
    reorder = facts["reorder"] if reorder is None else reorder
    _check_search(query_cut, heap_factor, reorder)
    terms, token = open_array(directory / "terms.npy"), library().get_seismic_string()
    try:
        index = _index(facts["large"]).load(str(directory / FILE))
    except OSError as error:
        raise InputError(f"Seismic cannot read {directory / FILE}: {error}") from error

    def candidates(queries: SparseRows, count: int) -> Int[np.ndarray, "q c"]:
        found = np.full((queries.shape[0], count), NOT_FOUND, np.int64)
        known = renumbered(queries, terms)
        asked = np.flatnonzero(np.diff(known.indptr))
        ends = known.indptr
        results = index.batch_search(
            np.array([str(row) for row in asked], dtype=token),
            [known.indices[ends[row] : ends[row + 1]].astype(token) for row in asked],
            [known.data[ends[row] : ends[row + 1]] for row in asked],
            count,
            query_cut,
            heap_factor,
            n_knn=facts["neighbours"],
            num_threads=threads,
        )
        for hits in results:
            if hits:
                found[int(hits[0][0]), : len(hits)] = [int(doc) for _, _, doc in hits]
        return found

    return candidates, reorder


def _index(large: bool) -> Any:
    return getattr(library(), "SeismicIndexLV" if large else "SeismicIndex")


def _check_search(query_cut: int, heap_factor: float, reorder: float) -> None:
    check_positive("query_cut", query_cut)
    if not heap_factor >= 0:
        raise InputError(f"heap_factor is {heap_factor}, it must be 0 or above")
    if not reorder >= 1:
        raise InputError(f"reorder is {reorder}, it must be 1 or above")
