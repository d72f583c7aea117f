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
from scipy.sparse import csr_array, sparray

from jaxir.checks import InputError
from jaxir.files import PathLike
from jaxir.retrieval.encode import encode_texts, make_encode_fn, make_tokenize_fn
from jaxir.retrieval.model import encoder_of, settings
from jaxir.retrieval.sparse_vectors import SparseRows
from jaxir.training.checkpoint import load_model
from jaxir.training.model import Model


class MtebEncoder:
    """What mteb calls an encoder: ``encode``, ``similarity``, ``similarity_pairwise``, ``mteb_model_meta``.

    Queries and documents get the model's own prefixes and lengths; texts of tasks without sides (STS,
    classification, clustering) are encoded as queries, and as documents by a model whose queries are bags
    of words. Scores are what the model was trained with: cosines of normalised vectors, inner products of
    others. A sparse model is filed as sparse; its representations stay sparse where mteb takes them so
    (retrieval), and have all dimensions of the vocabulary elsewhere (classifiers, clustering, reranking).

    Args:
      model: a loaded model, or what ``jaxir.training.checkpoint.load_model`` takes.
      name: "organisation/name" under which mteb files the results; default "jaxir/" and the fingerprint.
      part: of a hybrid: "dense" or "sparse".

    Raises:
      InputError: no such model, a hybrid without ``part``, or one vector per token: mteb would compare it
        as something it is not.
    """

    def __init__(
        self,
        model: Model | PathLike,
        revision: str | None = None,
        *,
        name: str | None = None,
        part: str | None = None,
        **_: Any,
    ) -> None:
        from mteb.models import ModelMeta  # here, so that this file can be read without the extra

        self.model = model if isinstance(model, Model) else load_model(model)
        self._part = part
        encoder = encoder_of(self.model, part)
        if encoder.kind not in ("dense", "sparse"):
            raise InputError(
                f"the model gives {encoder.kind!r} representations; MtebEncoder is for dense and sparse ones"
            )
        self._sideless = "query" if encoder.table is None else "doc"
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
                "model_type": [encoder.kind],
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
    ) -> Any:
        """float32 vectors [n, dim] of the texts of all batches, in order.

        Args:
          inputs: mteb's data loader: batches with a list of texts under "text".
          task_metadata: mteb's; of a sparse model's texts for retrieval, a sparse torch tensor is returned,
            as mteb has them from its own sparse models.
          prompt_type: mteb's: document, query or None.
          options: mteb's; of them ``show_progress_bar`` is followed. Batches are planned here, by length.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        asked = str(getattr(prompt_type, "value", prompt_type))
        side = {"document": "doc", "query": "query"}.get(asked, self._sideless)
        how = settings(self.model, side, self._part)
        values = encode_texts(
            self._encode[side],
            texts,
            make_tokenize_fn(self.model.tokenizer, prefix=how["prefix"], max_length=how["max_length"]),
            max_length=how["max_length"],
            desc="encode" if options.get("show_progress_bar", False) else None,
        )
        if not isinstance(values, SparseRows):
            return values
        return _tensor(values) if _takes_sparse(task_metadata) else values.toarray()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """All inner products [n, m]; of normalised vectors the cosines."""
        scores = _matrix(embeddings1) @ _matrix(embeddings2).T
        return scores.toarray() if isinstance(scores, sparray) else scores

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """The inner products [n] of corresponding vectors."""
        return np.asarray((_matrix(embeddings1) * _matrix(embeddings2)).sum(-1))


def _takes_sparse(task: Any) -> bool:
    """Whether mteb only multiplies the representations; a task that picks rows needs dense ones."""
    kind = getattr(task, "simplified_task_type", None)
    return kind == "retrieval" and "Reranking" not in str(task.type)


def _tensor(rows: SparseRows) -> Any:
    import torch  # mteb's own, here only to hand over

    where = torch.tensor(np.stack(rows.nonzero()), dtype=torch.int64)
    values = torch.tensor(rows.data)
    return torch.sparse_coo_tensor(where, values, rows.shape, check_invariants=True).coalesce()


def _matrix(values: Any) -> np.ndarray | SparseRows:
    """Vectors [n, d] of whatever kind mteb has made of those that it was given."""
    if isinstance(values, sparray):
        return csr_array(values)
    if getattr(values, "is_sparse", False):
        values = values.coalesce()
        shape = tuple(values.shape)
        return csr_array((values.values().numpy(), values.indices().numpy()), shape=shape)
    return np.atleast_2d(np.asarray(values, np.float32))
