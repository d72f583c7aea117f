"""Where a model's files are: a folder, or a Hugging Face Hub name that is downloaded once."""

from __future__ import annotations

import os
import pathlib
import re

from jaxir.checks import InputError
from jaxir.files import PathLike

# All that a reader of this package opens; no pickles, no code, no weights of other frameworks.
FILES = (
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_*_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "[0-9]*_*/config.json",
    "[0-9]*_*/sentence_*_config.json",
    "[0-9]*_*/tokenizer*.json",
    "[0-9]*_*/model.safetensors",
    "router_config.json",  # SparseEncoder folders with other modules for queries than for documents
    "idf.json",
    "query_*/*.json",
    "query_*/model*.safetensors",
    "document_*/*.json",
    "document_*/model*.safetensors",
)


def find(path_or_name: PathLike, *, revision: str | None = None) -> pathlib.Path:
    """The folder of a model.

    A name such as ``sentence-transformers/all-MiniLM-L6-v2`` is downloaded to Hugging Face's own cache
    (``HF_HOME``), ``FILES`` only; what is there already is not downloaded again.

    Raises:
      InputError: no such folder, no such model, or no network; says which and what to do.
    """
    text = os.fspath(path_or_name)
    folder = pathlib.Path(text).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"{folder} is a folder; revision={revision!r} is for models of the hub")
        return folder
    if folder.exists():
        raise InputError(f"{folder} is a file; give the folder that holds config.json and the weights")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text) or text.startswith("."):
        raise InputError(f"there is no folder {text}")
    return _download(text, revision)


def _download(name: str, revision: str | None) -> pathlib.Path:
    # Imported here: it takes half a second, and a folder does not need it.
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES))
        )
    except errors.GatedRepoError as error:
        raise InputError(
            f"{name} asks you to accept its terms: do so on its page, then log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{name} has no revision {revision!r}") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise InputError(f"there is neither a folder nor a model of the hub named {name!r}") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"there is no folder {name!r}, and the hub's model of that name is not in the local cache and "
            "cannot be downloaded from here. Without a network, download it elsewhere and give its folder"
        ) from error
