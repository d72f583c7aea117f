"""jaxir explain: what a learned sparse encoder sees in a text, and why a query finds it.

  jaxir explain --workdir=runs/splade --text="The fox sleeps in its den."
  jaxir explain --workdir=runs/splade --text="The fox sleeps in its den." --query="where do animals sleep"
  jaxir explain --workdir=runs/splade --source=beir:data/scifact --doc_id=4983 --query="brain development"
  jaxir explain --model=path/or/name --query="where do animals sleep"

The terms of the text stand heaviest first, with those marked that it does not contain and the encoder added.
With a query, each common term's two weights and their product: the products sum to the score.
"""

from __future__ import annotations

import pathlib
from typing import Any

from absl import flags

from jaxir.checks import InputError
from jaxir.cli.shared import define_model, open_model


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "work directory of jaxir train", flag_values=values)
    define_model(values)
    flags.DEFINE_string("text", None, "a document's text", flag_values=values)
    flags.DEFINE_string("query", None, "a query's text", flag_values=values)
    flags.DEFINE_string("doc_id", None, "instead of --text, a document of --source", flag_values=values)
    flags.DEFINE_string(
        "source", None, "collection, as in jaxir prepare, or what that wrote", flag_values=values
    )
    flags.DEFINE_integer("top", 25, "terms to show", flag_values=values, lower_bound=1)


def run(values: flags.FlagValues, positional: list[str]) -> None:
    if positional:
        raise InputError(f"jaxir explain takes flags only, not {positional[0]!r}; a text is --text=...")
    if not values.workdir and not values.model:
        raise InputError("give --workdir=DIR, a work directory of a sparse encoder, or --model")
    if (values.doc_id is None) != (values.source is None):
        raise InputError("--doc_id and --source go together: a document of a collection")
    if values.doc_id is not None and values.text is not None:
        raise InputError("give --text or --doc_id, not both")
    if values.text is None and values.query is None and values.doc_id is None:
        raise InputError('there is nothing to explain: give --text="...", --query="..." or --doc_id')
    from jaxir.evaluation import explain

    model = open_model(values)
    explain.sparse_part(model.encoder)  # before a collection is read
    text = values.text
    if values.doc_id is not None:
        from jaxir.data.prepare import prepare_spec
        from jaxir.retrieval.encode import make_text_fn

        prepared = prepare_spec(values.source, pathlib.Path(values.workdir or ".") / "data")
        doc = explain.find_doc(prepared, values.doc_id)
        text = make_text_fn(model.config["data"]["doc_text"])(doc)
        print(f"{doc.doc_id}: {text[:300]}{' ...' if len(text) > 300 else ''}")
    _show(explain.explain(model, text, query=values.query), values)


def _show(found: Any, values: flags.FlagValues) -> None:
    from jaxir.evaluation.terminal import show_table

    has_text = values.text is not None or values.doc_id is not None
    for terms, what in ((found.terms, "text" if has_text else ""), (found.query_terms, "query")):
        if not terms:
            if what and (what == "text" or values.query is not None):
                print(f"the {what} has no active term: it scores 0 with everything")
            continue
        most = terms[0].weight
        added = sum(not term.occurs for term in terms)
        show_table(
            ("term", "weight", "", ""),
            [
                (
                    [(term.token, "bold" if term.occurs else "")],
                    [(f"{term.weight:.3f}", "")],
                    [("█" * max(1, round(24 * term.weight / most)), "blue" if term.occurs else "yellow")],
                    [("" if term.occurs else "added", "dim")],
                )
                for term in terms[: values.top]
            ],
            title=f"{what}: {_terms(len(terms), 'active')}, {added} of them added"
            + (f"; the first {values.top}" if len(terms) > values.top else ""),
        )
    if found.score is None:
        return
    if not found.matches:
        print("the query and the text have no term in common: score 0")
        return
    rows = [
        (
            [(m.token, "bold")],
            [(f"{m.query_weight:.3f}", "")],
            [(f"{m.doc_weight:.3f}", "")],
            [(f"{m.contribution:.3f}", "bold")],
            [(f"{m.contribution / found.score:.1%}", "")],
        )
        for m in found.matches[: values.top]
    ]
    rest = found.matches[values.top :]
    if rest:
        part = sum(m.contribution for m in rest)
        more = [(f"{len(rest)} more", "dim")]
        rows.append((more, [], [], [(f"{part:.3f}", "")], [(f"{part / found.score:.1%}", "")]))
    show_table(
        ("term", "query", "text", "product", "share"),
        rows,
        title=f"score {found.score:.3f} = the sum over {_terms(len(found.matches), 'common')}",
    )


def _terms(count: int, what: str) -> str:
    return f"{count:,} {what} term{'' if count == 1 else 's'}"
