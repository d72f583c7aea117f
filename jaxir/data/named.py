"""Data sets that the configs know by a short name: folders in BEIR layout below $JAXIR_DATA."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from jaxir.checks import InputError

FOLDERS = {
    "squad": "squad-sentences",
    "squadshifts": "squadshifts",
    "medquad": "medquad",
    "nfcorpus": "nfcorpus",
    "scifact": "scifact",
    "wikiqa": "wikiqa",
    "trecqa": "trecqa",
    "jaquad": "jaquad",
}
SENTENCES = frozenset({"squad", "wikiqa", "trecqa"})
"""Those whose documents are single sentences."""

UNSPACED = frozenset({"jaquad"})
"""Those whose words no spaces divide: a vocabulary of words would make one of each sentence."""


def use_named(config: Any, variants: Collection[str]) -> str | None:
    """Sets ``data.source`` to the data set among a config's variants, if one is, and adds it to the name.

    A data set without spaces between words gets a unigram vocabulary.

    Returns:
      The short name, or None.

    Raises:
      InputError: two data sets.
    """
    found = [name for name in FOLDERS if name in variants]
    if len(found) > 1:
        raise InputError(
            f"the variants name {len(found)} data sets, {' and '.join(found)}; name one, or give several as "
            "config.data.sources"
        )
    if not found:
        return None
    config.data.source = f"beir:{os.path.join(os.environ.get('JAXIR_DATA', 'data'), FOLDERS[found[0]])}"
    config.name += f"-{found[0]}"
    if found[0] in UNSPACED:
        config.tokenizer.kind = "unigram"
    return found[0]
