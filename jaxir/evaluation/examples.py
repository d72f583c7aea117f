"""Queries worth reading: where a run gains most on the baseline, loses most, and where both fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxir.evaluation.measures import Qrels, Run, rank_scores
from jaxir.types import Doc


def choose(values: Mapping[str, float], baseline: Mapping[str, float], *, each: int = 2) -> dict[str, str]:
    """Query ids with a note: ``each`` of the largest gains, the largest losses and joint
    failures; the first queries where there is none of these.

    >>> choose({"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.5}, {"a": 0.2, "b": 0.5, "c": 0.0, "d": 0.5})
    {'a': 'gains 0.80', 'b': 'loses 0.50', 'c': 'not found by either'}
    """
    d = {q: values[q] - baseline[q] for q in values}
    order = sorted(d, key=lambda q: d[q])  # stable: equal differences stay in the qrels' order
    gains = {q: f"gains {d[q]:.2f}" for q in order[::-1][:each] if d[q] > 0}
    losses = {q: f"loses {-d[q]:.2f}" for q in order[:each] if d[q] < 0}
    neither = [q for q in d if values[q] == 0 and baseline[q] == 0][:each]
    chosen = gains | losses | dict.fromkeys(neither, "not found by either")
    return chosen or dict.fromkeys(list(d)[:each], "the same in both")


def show(
    chosen: Mapping[str, str],
    runs: Mapping[str, Run],
    qrels: Qrels,
    *,
    query_text: Mapping[str, str],
    read_docs: Callable[[Sequence[str]], Mapping[str, Doc]],
    hits: int = 3,
) -> list[dict[str, Any]]:
    """The chosen queries with the first ``hits`` documents of each run, as a report shows them.

    ``read_docs`` gets all needed document ids at once and returns the documents.
    """
    top = {
        (q, name): list(rank_scores(run.get(q, {}), q))[:hits] for q in chosen for name, run in runs.items()
    }
    docs = read_docs(sorted({d for ids in top.values() for d in ids}))

    def hit(query_id: str, doc_id: str) -> dict[str, Any]:
        doc = docs[doc_id]
        relevant = qrels[query_id].get(doc_id, 0) > 0
        return {"title": doc.title or doc_id, "text": doc.text, "relevant": relevant}

    return [
        {
            "query": query_text[q],
            "note": note,
            "hits": {name: [hit(q, d) for d in top[q, name]] for name in runs},
        }
        for q, note in chosen.items()
    ]
