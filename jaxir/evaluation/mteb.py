"""A jaxir model as mteb sees it, so that mteb's tasks and leaderboard code run on it.

    import mteb
    from jaxir.evaluation.mteb import MtebEncoder

    model = MtebEncoder("runs/squad")                      # or a model folder, or a hub name
    mteb.evaluate(model, mteb.get_tasks(tasks=["SciFact"]))

Needs the extra ``mteb``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxir.checks import InputError
from jaxir.files import PathLike
from jaxir.retrieval.encode import encode_texts, make_encode_fn, make_tokenize_fn
from jaxir.retrieval.model import settings
from jaxir.training.checkpoint import load_model
from jaxir.training.model import Model


class MtebEncoder:
    """What mteb calls an encoder: ``encode``, ``similarity``, ``similarity_pairwise``, ``mteb_model_meta``.

    Queries and documents get the model's own prefixes and lengths; texts of tasks without sides (STS,
    classification, clustering) are encoded as queries. Scores are what the model was trained with:
    cosines of normalised vectors, inner products of others.

    Args:
      model: a loaded model, or what ``jaxir.training.checkpoint.load_model`` takes.
      name: "organisation/name" under which mteb files the results; default "jaxir/" and the fingerprint.

    Raises:
      InputError: no such model, or one that is not dense: mteb would compare it as something it is not.
    """

    def __init__(
        self, model: Model | PathLike, revision: str | None = None, *, name: str | None = None, **_: Any
    ) -> None:
        from mteb.models import ModelMeta  # here, so that this file can be read without the extra

        self.model = model if isinstance(model, Model) else load_model(model)
        encoder = self.model.encoder
        if encoder.kind != "dense":
            raise InputError(
                f"the model gives {encoder.kind!r} representations; MtebEncoder is for dense ones"
            )
        self._encode = {
            side: make_encode_fn(encoder, self.model.params, side=side) for side in ("query", "doc")
        }
        count = sum(x.size for x in jax.tree.leaves(self.model.params))
        self._meta = ModelMeta.create_empty(
            {
                "name": name or f"jaxir/{self.model.fingerprint}",
                "revision": revision or self.model.fingerprint,
                "n_parameters": int(count),
                "embed_dim": encoder.dim,
                "max_tokens": max(self.model.config["max_length"].values()),
                "similarity_fn_name": "cosine" if encoder.normalized else "dot",
                "framework": ["JAX"],
                "open_weights": False,
                "use_instructions": any(self.model.config["prefixes"].values()),
            }
        )

    @property
    def mteb_model_meta(self) -> Any:
        """Name, size and similarity, for mteb's result files."""
        return self._meta

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """float32 vectors [n, dim] of the texts of all batches, in order.

        Args:
          inputs: mteb's data loader: batches with a list of texts under "text".
          prompt_type: mteb's: document, query or None.
          options: mteb's; of them ``show_progress_bar`` is followed. Batches are planned here, by length.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        side = "doc" if str(getattr(prompt_type, "value", prompt_type)) == "document" else "query"
        how = settings(self.model, side)
        return encode_texts(
            self._encode[side],
            texts,
            make_tokenize_fn(self.model.tokenizer, prefix=how["prefix"], max_length=how["max_length"]),
            max_length=how["max_length"],
            desc="encode" if options.get("show_progress_bar", False) else None,
        )

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """All inner products [n, m]; of normalised vectors the cosines."""
        return np.atleast_2d(_array(embeddings1)) @ np.atleast_2d(_array(embeddings2)).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """The inner products [n] of corresponding vectors."""
        return (np.atleast_2d(_array(embeddings1)) * np.atleast_2d(_array(embeddings2))).sum(-1)


def _array(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)
