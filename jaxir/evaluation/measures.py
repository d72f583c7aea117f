"""Effectiveness of a run against relevance judgements, by ir-measures' names and definitions.

>>> run = {"q1": {"d2": 0.9, "d1": 0.8}}
>>> qrels = {"q1": {"d1": 1}, "q2": {"d7": 1}}
>>> evaluate(run, qrels, "MRR@10 R@100")  # q2 has no result: it counts, with 0
{'MRR@10': 0.25, 'R@100': 0.5}

Readings where tools differ:

- The mean is over the *judged* queries. A judged query without results has its default, 0;
  queries of the run that nobody judged are left out. Both are counted in :class:`Measured`.
- Ties. trec_eval compares scores as float32 and sorts equal ones by document id downwards, the
  MS MARCO script upwards, so that one run has two rankings. Here the ranking is fixed before a
  provider sees it: scores downwards in float64, equal scores in the order in which the run lists
  them. Providers get ranks as scores. A run with ties can differ from trec_eval's own figure.
- ``nDCG`` has linear gains (trec_eval): the gain of grade y is y. ``nDCG(dcg='exp-log2')`` has
  2^y - 1 (Burges et al. 2005; rax). The discount is 1 / log2(rank + 1) in both.
- ``MRR@10`` is ir-measures' ``RR@10``. A document is relevant from grade 1; ``P(rel=2)@5`` says
  otherwise.

Everything runs on pip packages: trec_eval comes as the wheel of pytrec-eval-terrier, and
ir-measures' provider that needs perl is not used.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ir_measures

from jaxir.checks import InputError, nearest

Run = Mapping[str, Mapping[str, float]]
Qrels = Mapping[str, Mapping[str, int]]

DEFAULT_MEASURES = ("MRR@10", "nDCG@10", "R@100")


class Measured(NamedTuple):
    """The figures of one run; ``notes`` says what a reader of the figures should know."""

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]  # measure -> query_id -> value, judged queries in order
    judged: int  # queries with judgements: what the mean is over
    unanswered: int  # judged queries without a result, which count with 0
    unjudged: int  # queries of the run without judgements, which are left out
    notes: tuple[str, ...]


def evaluate(run: Run, qrels: Qrels, measures: str | Sequence[str] = DEFAULT_MEASURES) -> dict[str, float]:
    """The mean over judged queries of each measure, under the name that was asked for."""
    return measure(run, qrels, measures).mean


def per_query(
    run: Run, qrels: Qrels, measures: str | Sequence[str] = DEFAULT_MEASURES
) -> dict[str, dict[str, float]]:
    """Each measure's value for every judged query: ``{measure: {query_id: value}}``."""
    return measure(run, qrels, measures).per_query


def measure(run: Run, qrels: Qrels, measures: str | Sequence[str] = DEFAULT_MEASURES) -> Measured:
    """Means, per-query values and counts of ``run``.

    Args:
      run: {query_id: {doc_id: score}}, higher is better; ties rank in the dict's order.
      qrels: {query_id: {doc_id: grade}}.
      measures: names like ``"nDCG@10 R@100 P(rel=2)@5"``, in one string or a sequence.

    Raises:
      InputError: an unknown or malformed measure, no judgements, a score that is NaN, or no query
        that is in both the run and the qrels.
    """
    asked = parse(measures)
    if not any(qrels.values()):
        raise InputError("the qrels are empty: there is nothing to measure against")
    answered = [q for q in qrels if run.get(q)]
    if not answered and not (run and all(q in qrels for q in run)):  # else it found nothing at all
        raise InputError(
            "no query of the run is judged: the run has "
            f"{_some(run)}, the qrels have {_some(qrels)}. Are they of the same split?"
        )
    ranked = {q: rank_scores(run[q], q) for q in answered}
    judged = {q: dict(docs) for q, docs in qrels.items()}
    values = {name: _values(judged, ranked, parsed) for name, parsed in asked.items()}
    mean = {name: sum(of.values()) / len(judged) for name, of in values.items()}
    unjudged = sum(1 for q in run if q not in qrels)
    unanswered = len(judged) - len(answered)
    notes = _notes(ranked, asked, len(judged), unanswered, unjudged)
    return Measured(mean, values, len(judged), unanswered, unjudged, notes)


def parse(measures: str | Sequence[str]) -> dict[str, Any]:
    """``"nDCG@10 MRR@10"`` -> the user's spelling -> ir-measures' object.

    >>> [str(m) for m in parse("nDCG@10, MRR@10 nDCG(gains={1: 1, 2: 3})@5").values()]
    ['nDCG@10', 'RR@10', 'nDCG(gains={2:3})@5']
    """
    text = measures if isinstance(measures, str) else " ".join(measures)
    names = re.findall(r"(?:[^\s,(]|\([^)]*\))+", text)
    if not names:
        raise InputError('no measure was given; write for example "nDCG@10 R@100"')
    return {name: _parse_one(name) for name in names}


def rank_scores(docs: Mapping[str, float], query_id: str = "") -> dict[str, float]:
    """The ranking as scores n, n-1, ..., 1: no ties, and exact in any float format.

    >>> rank_scores({"a": 0.5, "b": 0.7, "c": 0.5})
    {'b': 3.0, 'a': 2.0, 'c': 1.0}
    """
    if any(score != score for score in docs.values()):
        raise InputError(f"query {query_id!r} has a document whose score is NaN")
    order = sorted(docs, key=docs.__getitem__, reverse=True)  # stable, also when reversed
    return {doc: float(len(order) - i) for i, doc in enumerate(order)}


def _parse_one(name: str) -> Any:
    try:
        parsed = ir_measures.parse_measure(name)
        parsed.validate_params()
    except NameError as error:
        raise InputError(f"unknown measure {name!r}.{_nearest_measure(name)}") from error
    except (ValueError, KeyError) as error:
        raise InputError(
            f"cannot read the measure {name!r}: write NAME@CUTOFF or NAME(setting=value)@CUTOFF, "
            "for example P(rel=2)@5"
        ) from error
    except AssertionError as error:  # how ir-measures validates
        if "cutoff" in str(error):
            raise InputError(
                f"the measure {name!r} needs a whole number as cutoff, for example {_base(name)}@10"
            ) from error
        given = re.sub("<object object at .*>", "missing", str(error))
        raise InputError(f"the measure {name!r} is not right: {given}") from error
    cutoff = parsed.params.get("cutoff")
    if cutoff is not None and cutoff < 1:  # trec_eval would end the process
        raise InputError(f"the measure {name!r} has the cutoff {cutoff}, it must be at least 1")
    if not _is_exponential(parsed) and not _providers().supports(parsed):
        raise InputError(f"no installed provider computes {name!r}.{_how_to_install(parsed)}")
    return parsed


def _base(name: str) -> str:
    return re.split(r"[@(]", name)[0]


def _nearest_measure(name: str) -> str:
    known = list(ir_measures.measures.registry)
    same = [k for k in known if k.lower() == _base(name).lower()]
    return f" Did you mean {same[0]!r}?" if same else nearest(_base(name), known)


def _how_to_install(parsed: Any) -> str:
    for provider in ir_measures.providers.registry.values():
        if provider.supports(parsed) and not provider.is_available():
            return f" To have it: {provider.install_instructions()}"
    return ""


@functools.cache
def _providers() -> Any:
    names = ("pytrec_eval", "cwl_eval", "compat", "judged", "msmarco", "accuracy")
    registry = ir_measures.providers.registry
    return ir_measures.providers.FallbackProvider([registry[name] for name in names])


def _is_exponential(parsed: Any) -> bool:
    return parsed.NAME == "nDCG" and parsed["dcg"] == "exp-log2"


def _values(
    qrels: dict[str, dict[str, int]], ranked: dict[str, dict[str, float]], parsed: Any
) -> dict[str, float]:
    """One measure at a time: ir-measures mixes up nDCG with and without ``gains`` in one call."""
    if _is_exponential(parsed):
        grades = {y for docs in qrels.values() for y in docs.values()}
        params = {k: v for k, v in parsed.params.items() if k != "dcg"}
        parsed = ir_measures.nDCG(**params, gains={y: 2**y - 1 for y in grades if y > 0})
    if not ranked:
        return dict.fromkeys(qrels, 0.0)
    found = {m.query_id: m.value for m in _providers().iter_calc([parsed], qrels, ranked)}
    return {q: float(found[q]) for q in qrels}


def _some(ids: Mapping[str, Any]) -> str:
    return f"{len(ids)} queries ({', '.join(repr(q) for q in list(ids)[:2])}, ...)"


def _notes(
    ranked: dict[str, dict[str, float]],
    asked: dict[str, Any],
    judged: int,
    unanswered: int,
    unjudged: int,
) -> tuple[str, ...]:
    notes = []
    if unanswered:
        notes.append(f"{unanswered} of {judged} judged queries have no result; they count with 0")
    if unjudged:
        notes.append(f"{unjudged} queries of the run have no judgements; they are left out")
    depth = max((len(docs) for docs in ranked.values()), default=0)
    deeper = [n for n, m in asked.items() if (m.params.get("cutoff") or 0) > depth]
    if deeper and depth:
        notes.append(f"the run has at most {depth} documents per query: {', '.join(deeper)} see no more")
    return tuple(notes)


class Scores(NamedTuple):
    """Several runs against the same qrels."""

    figures: dict[str, dict[str, float]]  # run -> measure -> mean
    per_query: dict[str, dict[str, dict[str, float]]]  # run -> measure -> query_id -> value
    notes: tuple[str, ...]


def measure_runs(
    runs: Mapping[str, Run], qrels: Qrels, measures: str | Sequence[str] = DEFAULT_MEASURES
) -> Scores:
    """:func:`measure` for each of ``{name: run}``, with the notes under the runs' names.

    Raises:
      InputError: as :func:`measure`, naming the run.
    """
    parse(measures)  # its errors are about no run in particular
    found = {}
    for name, run in runs.items():
        try:
            found[name] = measure(run, qrels, measures)
        except InputError as error:
            raise InputError(f"run {name}: {error}") from error
    by_note: dict[str, list[str]] = {}
    for name, measured in found.items():
        for note in measured.notes:
            by_note.setdefault(note, []).append(name)
    return Scores(
        {name: measured.mean for name, measured in found.items()},
        {name: measured.per_query for name, measured in found.items()},
        tuple(f"{', '.join(names)}: {note}" for note, names in by_note.items()),
    )
