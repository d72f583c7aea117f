"""What sparse representations cost: active terms, the expected work per query-document pair, postings.

Rows are texts, columns the terms of a vocabulary. A term is active in a text where its weight is not 0.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from scipy.sparse import csr_array

from jaxir.checks import InputError


def summary(queries: csr_array, docs: csr_array) -> dict[str, float]:
    """What a report says of the representations of a split's queries and of a corpus.

    - ``active query terms``, ``active document terms``: the mean number per text;
    - ``FLOPS``: :func:`flops`;
    - ``empty queries``, ``empty documents``: how many have no active term; such a query finds nothing;
    - ``unused terms``: the share of the vocabulary that is active in no document;
    - ``largest list``: the share of the documents in the longest posting list;
    - ``postings``: active terms of all documents, the size of an inverted index.

    Raises:
      InputError: no queries or documents, or another vocabulary for the one than for the other.
    """
    check_same_vocabulary(queries, docs)
    per_query, per_doc = active(queries), active(docs)
    held = document_shares(docs)
    return {
        "active query terms": float(per_query.mean()),
        "active document terms": float(per_doc.mean()),
        "FLOPS": flops(queries, docs),
        "empty queries": float((per_query == 0).sum()),
        "empty documents": float((per_doc == 0).sum()),
        "unused terms": float((held == 0).mean()),
        "largest list": float(held.max()),
        "postings": float(per_doc.sum()),
    }


def flops(queries: csr_array, docs: csr_array) -> float:
    """sum_j p_j^q p_j^d, p_j the share of texts in which term j is active (Paria et al. 2020).

    That is the mean number of terms that a query and a document have in common over all pairs: the
    multiplications that a scan of posting lists makes per document.

    >>> one, two = csr_array(np.array([[1.0, 0, 2]])), csr_array(np.array([[1.0, 3, 0], [1, 0, 0]]))
    >>> flops(one, two)
    1.0
    """
    return float(document_shares(queries) @ document_shares(docs))


def active(rows: csr_array) -> Int64[np.ndarray, " n"]:
    """The number of active terms of each text."""
    held = np.concatenate([[0], np.cumsum(rows.data != 0)])
    return np.diff(held[rows.indptr]).astype(np.int64)


def document_shares(rows: csr_array) -> Float64[np.ndarray, " v"]:
    """For each term the share of texts in which it is active."""
    counts = np.bincount(rows.indices[rows.data != 0], minlength=rows.shape[1])
    return counts / max(1, rows.shape[0])


def csr_bytes(rows: csr_array) -> int:
    """Bytes of the three arrays as they lie in memory."""
    return int(rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes)


def check_same_vocabulary(queries: csr_array, docs: csr_array) -> None:
    """Raises unless both have rows, over the same columns."""
    if not queries.shape[0] or not docs.shape[0]:
        raise InputError("there are no queries or no documents to measure the sparsity of")
    if queries.shape[1] != docs.shape[1]:
        raise InputError(
            f"the queries have {queries.shape[1]:,} terms and the documents {docs.shape[1]:,}: they are of "
            "models with different vocabularies; encode both with one"
        )
