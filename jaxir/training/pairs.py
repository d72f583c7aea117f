"""What of a config does not go with an encoder that reads pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxir.checks import InputError
from jaxir.types import Encoder


def check_terms_of_pairs(terms: Mapping[str, Any]) -> None:
    """Raises for a term of an objective that makes no sense with the scores of a cross-encoder."""
    for name, term in terms.items():
        if term.get("on", "in_batch") == "in_batch":
            raise InputError(
                f"term {name!r} of the objective is on 'in_batch', and a cross-encoder scores a query only "
                f"with the documents listed beside it: set objective.{name}.on='listed' (and data.listed)"
            )
        if term.get("score", "dot") != "dot":
            raise InputError(
                f"term {name!r} of the objective has score={term['score']!r}, which leaves the sign of a "
                "cross-encoder's score: leave it out"
            )


def check_pairs(config: Mapping[str, Any], encoder: Encoder) -> None:
    """Raises unless the data are joined pairs exactly where the encoder reads such."""
    pairs = config["data"].get("pairs")
    if encoder.kind == "scores" and pairs != "joined":
        raise InputError(
            f"the encoder is a cross-encoder and data.pairs is {pairs!r}: set data.pairs='joined', so that "
            "it reads each document together with its query"
        )
    if pairs == "joined" and encoder.kind != "scores":
        raise InputError(
            "data.pairs='joined' is for cross-encoders, and this encoder represents single texts: leave "
            "data.pairs unset, or set encoder.fn='jaxir.models.cross_encoder:cross_encoder' (with init_from, "
            "init_with.cross_encoder={})"
        )
