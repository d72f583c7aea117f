"""Checks of tokens, prefixes, judgements and fingerprints for failures that raise no error.

As in :mod:`jaxir.evaluation.vector_checks`: plain arguments in, findings out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxir.evaluation.finding import Finding
from jaxir.evaluation.measures import DEFAULT_MEASURES, Qrels, evaluate, parse, per_query


def prefixes(declared: Mapping[str, str], used: Mapping[str, str]) -> list[Finding]:
    """The prefixes ("query: ") that the model was trained with against those that were put before
    the texts; ``used`` may know one side only."""
    found = []
    for side, prefix in used.items():
        check = f"prefix of {side}"
        expected = declared.get(side, "")
        if prefix != expected:
            found.append(
                Finding(
                    "fail",
                    check,
                    f"the model was trained with {expected!r}, the texts were encoded with {prefix!r}",
                    "encode again with the model's own prefix",
                )
            )
        else:
            found.append(Finding("ok", check, f"{expected!r} as in training"))
    return found


def vocabulary(vocab_size: int, embedding_rows: int) -> list[Finding]:
    """Tokenizer and model must agree; up to 127 spare rows are padding for the hardware."""
    check = "vocabulary"
    text = f"tokenizer {vocab_size:,} tokens, model {embedding_rows:,} embeddings"
    advice = "put the tokenizer that the model was trained with into the work directory"
    if vocab_size > embedding_rows:
        return [Finding("fail", check, f"{text}: some ids have no embedding", advice)]
    if embedding_rows - vocab_size > 127:
        return [Finding("warn", check, f"{text}: many embeddings are never used", advice)]
    return [Finding("ok", check, text)]


def unknown_tokens(texts: Sequence[np.ndarray], unknown_id: int | None) -> list[Finding]:
    """The share of tokens that the tokenizer does not know; ``texts`` are arrays of token ids."""
    check = "unknown tokens"
    total = sum(len(ids) for ids in texts)
    empty = sum(len(ids) == 0 for ids in texts)
    unknown = 0 if unknown_id is None else sum(int((ids == unknown_id).sum()) for ids in texts)
    share = unknown / max(1, total)
    text = f"{share:.1%} of {total:,} tokens unknown"
    advice = "train a tokenizer on these texts (language, casing, script), or normalise them alike"
    if empty > 0.1 * len(texts):
        message = f"{empty} of {len(texts)} texts have no token at all"
        return [Finding("fail", check, message, advice)]
    if share > 0.2:
        return [Finding("fail", check, text, advice)]
    if share > 0.02:
        return [Finding("warn", check, text, advice)]
    return [Finding("ok", check, text)]


def truncation(lengths: Sequence[int], max_length: int, what: str) -> list[Finding]:
    """How many texts are cut at ``max_length`` tokens; ``lengths`` are those before the cut."""
    check = f"{what}: truncation"
    cut = float(np.mean([length > max_length for length in lengths]))
    longest = max(lengths)
    text = f"{cut:.0%} of texts are cut at {max_length} tokens (longest {longest})"
    if cut > 0.2:
        return [Finding("warn", check, text, "raise max_length, or split long texts into passages")]
    return [Finding("ok", check, text)]


def qrels_targets(qrels: Qrels, query_ids: Iterable[str], doc_ids: Iterable[str]) -> list[Finding]:
    """Judgements must name queries and documents that exist; each query needs a relevant one."""
    check = "qrels"
    queries, docs = set(query_ids), set(doc_ids)
    pairs = [(q, d) for q, judged in qrels.items() for d, grade in judged.items() if grade > 0]
    lost = [(q, d) for q, d in pairs if d not in docs]
    nobody = [q for q in qrels if q not in queries]
    without = [q for q, judged in qrels.items() if not any(g > 0 for g in judged.values())]
    found = []
    if lost:
        text = f"{len(lost)} of {len(pairs)} relevant pairs name a document that is not in the corpus"
        level = "fail" if len(lost) > 0.05 * len(pairs) else "warn"
        advice = "these can never be found; use the corpus that belongs to the qrels"
        found.append(Finding(level, check, f"{text}, such as {lost[0][1]!r}", advice))
    if nobody:
        text = f"{len(nobody)} of {len(qrels)} judged queries have no text, such as {nobody[0]!r}"
        advice = "they count with 0; use the queries of the same split"
        found.append(Finding("fail", check, text, advice))
    if without:
        text = f"{len(without)} of {len(qrels)} queries have no relevant document, such as {without[0]!r}"
        advice = "they count with 0 whatever is found; leave them out"
        found.append(Finding("warn", check, text, advice))
    return found or [Finding("ok", check, f"{len(pairs)} relevant pairs of {len(qrels)} queries exist")]


def oracle(
    qrels: Qrels,
    measures: str | Sequence[str] = DEFAULT_MEASURES,
    *,
    doc_ids: Iterable[str] | None = None,
) -> list[Finding]:
    """The qrels as a run, documents by grade, must score 1; where it cannot, says why.

    ``doc_ids`` keeps only documents that exist, so the figure is the best that any run can reach.
    """
    known = None if doc_ids is None else set(doc_ids)
    run = {
        q: {d: float(g) for d, g in docs.items() if g > 0 and (known is None or d in known)}
        for q, docs in qrels.items()
    }
    if not any(run.values()):
        text = "no query has a relevant document that exists"
        return [Finding("fail", "oracle", text, "qrels and corpus do not belong together")]
    found = []
    values = evaluate(run, qrels, measures)
    perfect = [name for name, value in values.items() if value > 1 - 1e-6]
    if perfect:
        found.append(Finding("ok", "oracle", f"the perfect run has 1 on {', '.join(perfect)}"))
    for name, value in values.items():
        text = f"the perfect run has {name} {value:.4f}"
        if name in perfect:
            continue
        cutoff = parse(name)[name].params.get("cutoff")
        low = [q for q, v in per_query(run, qrels, name)[name].items() if v < 1 - 1e-6]
        many = [q for q in low if cutoff and len(run[q]) > cutoff]
        if name.startswith(("R@", "R(", "Recall")) and len(many) == len(low):
            text = f"{text}: {len(many)} queries have more than {cutoff} relevant documents"
            found.append(Finding("warn", "oracle", text, "report recall at a higher cutoff"))
        else:
            text = f"{text}: {len(low)} of {len(qrels)} queries stay below 1, such as {low[0]!r}"
            advice = "no retriever can do better: check the qrels of these queries, and the measure"
            found.append(Finding("fail", "oracle", text, advice))
    return found


def fingerprints(names: Mapping[str, str | None]) -> list[Finding]:
    """The model's fingerprint as each part records it: {"model": "ab..", "index": "cd.."}."""
    check = "fingerprints"
    known = {part: name for part, name in names.items() if name}
    listed = ", ".join(f"{part} {name}" for part, name in known.items())
    if len(set(known.values())) > 1:
        return [
            Finding(
                "fail",
                check,
                f"not of one model: {listed}",
                "encode and index again with this model, or name the model that made the index",
            )
        ]
    if len(known) < 2:
        return [Finding("ok", check, f"{listed or 'none recorded'}; nothing to compare with")]
    return [Finding("ok", check, f"{', '.join(known)} belong to {next(iter(known.values()))}")]
