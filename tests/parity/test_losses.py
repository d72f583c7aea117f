"""The same numbers as torch and sentence-transformers where they mean the same; the known differences."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxir import losses, negatives, scoring
from jaxir.negatives import BLOCKS

pytestmark = pytest.mark.parity
B, G, D, SCALE = 6, 3, 8, 20.0


@pytest.fixture(scope="module")
def reps():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, D)).astype(np.float32), rng.normal(size=(B, G, D)).astype(np.float32)


def torch_ranking_loss(reps, **options):
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    name = "sentence_transformers.sentence_transformer.losses"
    theirs = pytest.importorskip(name, reason="needs the extra 'parity'")
    loss = theirs.MultipleNegativesRankingLoss(torch.nn.Identity(), scale=SCALE, **options)
    q, d = map(torch.tensor, reps)
    q.requires_grad_(True)
    value = loss.compute_loss_from_embeddings([q, *d.unbind(1)], None)
    value.backward()
    return float(value.detach()), q.grad.numpy()


@pytest.mark.parametrize(
    ("theirs", "blocks", "loss"),
    [
        ({}, ("query_doc",), losses.softmax),
        (
            {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"},
            ("query_doc",),
            losses.symmetric_softmax,
        ),
        (
            {"directions": ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")},
            BLOCKS,
            losses.softmax,
        ),
    ],
    ids=["one direction", "symmetric", "four blocks"],
)
def test_ranking_losses(reps, theirs, blocks, loss):
    import jax

    def ours(q):
        c = negatives.in_batch(q, jnp.asarray(reps[1]), blocks=blocks, score=scoring.cosine)
        return loss(c.scores, c.labels, where=c.where, temperature=1 / SCALE)

    value, gradient = jax.value_and_grad(ours)(jnp.asarray(reps[0]))
    expected, expected_gradient = torch_ranking_loss(reps, **theirs)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-5)


def test_cross_entropy_with_label_smoothing():
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    s = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    target = torch.tensor([0, 3, 1, 4])
    expected = torch.nn.functional.cross_entropy(torch.tensor(s), target, label_smoothing=0.2)
    labels = jnp.asarray(np.eye(5, dtype=np.float32)[target.numpy()])
    np.testing.assert_allclose(
        losses.softmax(jnp.asarray(s), labels, label_smoothing=0.2), expected, rtol=1e-6
    )


def test_margin_mse_and_kl():
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    rng = np.random.default_rng(2)
    s, t = rng.normal(size=(2, 4, 5)).astype(np.float32)
    margins = torch.nn.functional.mse_loss(
        torch.tensor(s[:, :1] - s[:, 1:]), torch.tensor(t[:, :1] - t[:, 1:])
    )
    np.testing.assert_allclose(losses.margin_mse(jnp.asarray(s), teacher=jnp.asarray(t)), margins, rtol=1e-5)
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(torch.tensor(s) / 2, -1),
        torch.softmax(torch.tensor(t) / 2, -1),
        reduction="batchmean",
    )
    ours = losses.kl_divergence(jnp.asarray(s), teacher=jnp.asarray(t), temperature=2, teacher_temperature=2)
    np.testing.assert_allclose(ours, kl, rtol=1e-5)
