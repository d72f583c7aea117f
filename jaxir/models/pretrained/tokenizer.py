"""The tokenizer of a model without its weights."""

from __future__ import annotations

import pathlib

from jaxir.checks import InputError
from jaxir.data import tokenizer as tokenizers
from jaxir.data.tokenizer import Tokenizer
from jaxir.files import PathLike, read_json
from jaxir.models.pretrained import hub

FILE = "tokenizer.json"


def read_tokenizer(path_or_name: PathLike) -> Tokenizer:
    """The tokenizer of a tokenizer.json, of a work directory, a folder of published weights or a Hub name.

    Raises:
      InputError: no such file, folder or model, or none with a tokenizer.json.
    """
    if pathlib.Path(path_or_name).is_file():
        return tokenizers.load(path_or_name)
    folder = hub.find(path_or_name)
    # Of a sentence-transformers folder the first module may have it: 0_Transformer, document_0_MLM...
    found = [folder / FILE, *sorted(folder.glob(f"*/{FILE}"))]
    found = [file for file in found if file.is_file()]
    if not found:
        raise InputError(f"{folder} has no {FILE}; name that file itself, or a folder that holds it")
    facts = [read_json(file) for file in sorted(found[0].parent.glob("sentence_*_config.json"))[:1]]
    return tokenizers.load(found[0], lowercase=any(f.get("do_lower_case", False) for f in facts))
