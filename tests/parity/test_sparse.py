"""Sparse encoders of sentence-transformers, loaded here; ours, loaded there: the same representations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxir import losses, negatives
from jaxir.config import build
from jaxir.data.padding import pad
from jaxir.models import pretrained
from jaxir.models.pretrained.writing import write_tokenizer
from tests.models.pretrained import folders
from tests.parity.test_pretrained import theirs as masked

pytestmark = pytest.mark.parity

torch = pytest.importorskip("torch")
sparse = pytest.importorskip("sentence_transformers.sparse_encoder")
modules = pytest.importorskip("sentence_transformers.sparse_encoder.modules")

TOKENIZER = folders.tiny_tokenizer()
V = TOKENIZER.vocab_size
TEXTS = ["the quick brown fox jumps over", "a ship", "ten red apples on the sea", "dog"]


def transformer(name, folder):
    """A masked language model with random weights, as a module."""
    folder.mkdir()
    masked(name, folder, vocab_size=V)
    write_tokenizer(folder, TOKENIZER, 32)
    return modules.Transformer(str(folder), transformer_task="fill-mask")


def routed(query, document):
    return [modules.Router.for_query_document(query_modules=query, document_modules=document)]


def made(name, folder):
    pooling = modules.SpladePooling
    if name == "splade":
        return sparse.SparseEncoder(modules=[transformer("bert", folder / "bert"), pooling("max", "relu")])
    if name == "summed":
        trunk = transformer("modernbert", folder / "modernbert")
        return sparse.SparseEncoder(modules=[trunk, pooling("sum", "log1p_relu")], max_active_dims=7)
    document = [transformer("bert", folder / "bert"), pooling("max", "log1p_relu")]
    if name == "inference-free":
        weights = torch.rand(V)
        weights[list(TOKENIZER.special_ids)] = 0
        table = modules.SparseStaticEmbedding(document[0].tokenizer, weights, frozen=True)
        return sparse.SparseEncoder(modules=routed([table], document))
    queries = transformer("bert", folder / "other")
    with torch.no_grad():
        queries.model.cls.predictions.bias.add_(0.5)
    return sparse.SparseEncoder(modules=routed([queries, pooling("max", "relu")], document))


def check(model, found, places):
    """Both sides of their model and of ours, within 1e-5; keeps what ours gave in ``places``."""
    ids = pad(TOKENIZER.encode_batch(TEXTS, max_length=32))
    encoder = build(found.spec)
    for side, encode in (("query", model.encode_query), ("doc", model.encode_document)):
        want = encode(TEXTS, convert_to_sparse_tensor=False, show_progress_bar=False).numpy()
        got = np.asarray(encoder.encode(found.params, ids, side=side).values)
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert (got > 0).any(axis=1).all()
        places[side] = got


@pytest.mark.parametrize("name", ["splade", "summed", "inference-free", "two encoders"])
def test_the_same_representations_there_and_back(name, tmp_path):
    model = made(name, tmp_path).eval()
    model.save(str(tmp_path / "m"))
    found, ours = pretrained.read(tmp_path / "m"), {}
    check(model, found, ours)
    how = dict(max_length=found.max_length)
    pretrained.export(tmp_path / "ours", found.spec, found.params, found.tokenizer, **how)
    back = sparse.SparseEncoder(str(tmp_path / "ours"), device="cpu")
    for side, encode in (("query", back.encode_query), ("doc", back.encode_document)):
        want = encode(TEXTS, convert_to_sparse_tensor=False, show_progress_bar=False).numpy()
        np.testing.assert_allclose(ours[side], want, atol=1e-5)


@pytest.mark.parametrize("threshold", [None, 3])
def test_spladeloss_and_its_gradient(threshold):
    """Ranking by dot products, FLOPS of all documents together and of queries; with l0 masks."""
    from sentence_transformers.sparse_encoder import losses as theirs

    rng = np.random.default_rng(0)
    q, d = (np.maximum(rng.normal(size=shape) - 0.5, 0).astype(np.float32) for shape in ((5, 9), (5, 3, 9)))
    columns = [torch.tensor(x, requires_grad=True) for x in (q, *d.swapaxes(0, 1))]
    model = torch.nn.Identity()
    loss = theirs.SpladeLoss(
        model,
        theirs.SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=0.3,
        query_regularizer_weight=0.2,
        document_regularizer_threshold=threshold,
        query_regularizer_threshold=threshold,
    )
    ranking = loss.loss.compute_loss_from_embeddings(columns, None)
    expected = (
        ranking
        + 0.3 * loss.document_regularizer.compute_loss_from_embeddings(torch.cat(columns[1:]))
        + 0.2 * loss.query_regularizer.compute_loss_from_embeddings(columns[0])
    )
    expected.backward()

    def flops(x):
        return losses.flops(x) if threshold is None else losses.l0_mask_flops(x, threshold=threshold)

    def ours(q, d):
        c = negatives.in_batch(q, d)
        return losses.softmax(c.scores, c.labels, where=c.where) + 0.3 * flops(d) + 0.2 * flops(q)

    value, (of_q, of_d) = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(jnp.asarray(q), jnp.asarray(d))
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-5)
    np.testing.assert_allclose(of_q, columns[0].grad, atol=1e-5)
    np.testing.assert_allclose(of_d, np.stack([x.grad for x in columns[1:]], 1), atol=1e-5)
