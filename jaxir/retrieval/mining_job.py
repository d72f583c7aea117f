"""``jaxir mine``: the negatives of a split's queries to a file, block by block, so that it can go on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jaxir.checks import InputError
from jaxir.data.listed import Candidates
from jaxir.data.prepared import Prepared
from jaxir.files import PathLike, fingerprint
from jaxir.retrieval import mining
from jaxir.retrieval.mining import Mined, Relevant, Rules
from jaxir.retrieval.mining_data import Texts, digest, numbered
from jaxir.retrieval.mining_origins import Origin
from jaxir.retrieval.mining_progress import Partial

BLOCK = 512
"""Queries that are searched at a time, and written together."""

EDGES = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Of the histogram: a negative's score as a share of its positive's."""


class Summary(NamedTuple):
    """What became of a split's queries."""

    count: Counter[str]  # queries, negatives, ...: see _tally
    dropped: Counter[str]  # documents, by rule
    shares: np.ndarray  # [len(EDGES) + 1] int64, negatives between the edges


def mine_to_file(
    out: PathLike,
    prepared: Prepared,
    split: str,
    relevant: Candidates,
    origin: Origin,
    rules: Rules,
    *,
    depth: int,
    text_fn: Callable[[Any], str],
    scores: bool = False,
    progress: bool = True,
) -> Summary:
    """Mines for every query that has a relevant document, and writes a file that training reads.

    A line is {"query_id", "doc_ids"}; with ``scores`` the relevant documents come first and "scores" has
    the origin's score of each document, null where it has none. The file appears whole or not at all; what
    is done so far lies beside it, and the same call goes on from there.

    Args:
      relevant: :func:`jaxir.retrieval.mining_data.relevant_of`.
      text_fn: what of a document must be equal for two to be the same.

    Raises:
      InputError: rules out of range, or no negative is left of any query.
    """
    mining.check_rules(rules, depth)
    asked = np.flatnonzero(np.diff(relevant.starts))
    job = fingerprint(prepared.fingerprint, split, origin.facts, rules._asdict(), depth, scores, BLOCK)
    texts = Texts(prepared.docs, text_fn)
    blocks = [asked[i : i + BLOCK] for i in range(0, len(asked), BLOCK)]
    with (
        Partial(out, job) as partial,
        tqdm(total=len(asked), desc="mine", unit=" queries", disable=not progress, mininterval=0.5) as bar,
    ):
        bar.update(sum(map(len, blocks[: len(partial.tallies)])))
        for block in blocks[len(partial.tallies) :]:
            lines, tally = _mine_block(prepared, split, relevant, origin, rules, block, texts, scores)
            partial.add(lines, tally)
            bar.update(len(block))
        summary = _total(partial.tallies)
        if not summary.count["negatives"]:
            partial.forget()
            raise InputError(f"no negative is left of any query: {describe_dropped(summary)}")
        partial.finish()
    return summary


def _mine_block(
    prepared: Prepared,
    split: str,
    relevant: Candidates,
    origin: Origin,
    rules: Rules,
    block: np.ndarray,
    texts: Texts,
    with_scores: bool,
) -> tuple[list[str], dict[str, Any]]:
    """The lines of some queries (rows of the split), and their tally."""
    found_scores, found = origin.find(block)
    entries = np.concatenate([np.arange(*relevant.starts[i : i + 2]) for i in block])
    counts = np.diff(relevant.starts)[block]
    known = Relevant(
        np.concatenate([[0], np.cumsum(counts)]),
        relevant.doc_row[entries],
        np.full(len(entries), np.nan, np.float32),
    )
    score = mining.found_scores(found_scores, found, known)
    if rules.relative or with_scores:
        unknown = np.isnan(score)
        if unknown.any():
            score[unknown] = origin.score(np.repeat(block, counts)[unknown], known.doc_row[unknown])
    known = known._replace(score=score)
    queries = prepared.queries[split].rows(block.tolist())
    asked = np.array([digest(query.text) for query in queries], np.int64)
    found_text, known_text, asked_text = numbered(texts.of(found), texts.of(known.doc_row), asked)
    mined = mining.mine(
        found_scores,
        found,
        known,
        rules,
        text=found_text,
        positive_text=known_text,
        query_text=asked_text,
        number=block,
    )
    own = relevant.label[entries] > 0
    needed = np.unique(np.concatenate([mined.rows[mined.rows >= 0], known.doc_row]))
    name = dict(zip(needed.tolist(), (doc.doc_id for doc in prepared.docs.rows(needed.tolist()))))
    lines = []
    for i, query in enumerate(queries):
        real = mined.rows[i] >= 0
        docs, values = mined.rows[i][real].tolist(), mined.scores[i][real].tolist()
        if with_scores:
            of_it = np.arange(*known.starts[i : i + 2])
            of_it = of_it[own[of_it]]
            docs = known.doc_row[of_it].tolist() + docs
            values = score[of_it].tolist() + values
        if not docs:
            continue
        line: dict[str, Any] = {"query_id": query.query_id, "doc_ids": [name[doc] for doc in docs]}
        if with_scores:
            line["scores"] = [None if np.isnan(x) else float(f"{x:.7g}") for x in values]
        lines.append(json.dumps(line, ensure_ascii=False))
    return lines, _tally(mined, found, known, origin.holds, rules)


def _tally(
    mined: Mined, found: np.ndarray, known: Relevant, holds: np.ndarray | None, rules: Rules
) -> dict[str, Any]:
    count = (mined.rows >= 0).sum(axis=1)
    held = np.ones(len(known.doc_row), bool) if holds is None else holds[known.doc_row]
    owner = np.repeat(np.arange(len(count)), np.diff(known.starts))
    positives_held = np.bincount(owner[held], minlength=len(count))
    base = mined.reference[:, None].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 - (base - mined.scores) / np.abs(base)
    share = share[(mined.rows >= 0) & np.isfinite(share)]
    return {
        "queries": len(count),
        "negatives": int(count.sum()),
        "fewer": int(((count < rules.per_query) & (count > 0)).sum()),
        "none": int((count == 0).sum()),
        "found": int((found >= 0).sum()),
        "left": int(mined.kept.sum()),
        "unsearched": int((found < 0).all(axis=1).sum()),
        "absent": int((positives_held == 0).sum()),
        "unscored": int(np.isnan(mined.reference).sum()),
        "dropped": mined.dropped,
        "shares": np.bincount(np.searchsorted(EDGES, share, side="right"), minlength=len(EDGES) + 1).tolist(),
    }


def _total(tallies: list[dict[str, Any]]) -> Summary:
    count: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    shares = np.zeros(len(EDGES) + 1, np.int64)
    for tally in tallies:
        count.update({k: v for k, v in tally.items() if isinstance(v, int)})
        dropped.update(tally["dropped"])
        shares += tally["shares"]
    return Summary(count, dropped, shares)


def describe_dropped(summary: Summary) -> str:
    """Which rule removed how many documents."""
    said = [f"{rule} {summary.dropped[rule]:,}" for rule in mining.RULES if summary.dropped[rule]]
    return f"of {summary.count['found']:,} documents found, dropped: {', '.join(said) or 'none'}"


def describe(summary: Summary, rules: Rules) -> Iterator[str]:
    """Lines for a person: queries, what was dropped and why, how close the negatives come."""
    count = summary.count
    full = count["queries"] - count["fewer"] - count["none"]
    yield (
        f"{count['queries']:,} queries, {count['negatives']:,} negatives: {full:,} queries have "
        f"{rules.per_query}, {count['fewer']:,} fewer, {count['none']:,} none"
    )
    for name, said in (
        ("unsearched", "found nothing at all"),
        ("absent", "have no positive in the index"),
        ("unscored", "have no positive with a score"),
    ):
        if count[name]:
            yield f"{count[name]:,} queries {said}"
    yield f"{describe_dropped(summary)}; of the {count['left']:,} left {count['negatives']:,} were picked"
    total = int(summary.shares.sum())
    if total:
        names = [f"<{EDGES[0]:g}", *(f"{a:g}-{b:g}" for a, b in pairwise(EDGES)), f">={EDGES[-1]:g}"]
        bars = (f"{name} {n / total:.0%}" for name, n in zip(names, summary.shares) if n)
        yield f"a negative's score as a share of the positive's: {' | '.join(bars)}"
