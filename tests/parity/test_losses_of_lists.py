"""Losses of lists as sentence-transformers' cross-encoders have them."""

import jax.numpy as jnp
import numpy as np
import pytest
import rax

from jaxir import losses

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def of_texts():
    """loss of "documents" that say what their score is, and its gradient with respect to them."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    name = "sentence_transformers.cross_encoder.losses"
    theirs = pytest.importorskip(name, reason="needs the extra 'parity'")

    class Reader(torch.nn.Module):
        num_labels, device = 1, torch.device("cpu")

        def preprocess(self, pairs, **_):
            self.scores = torch.tensor([float(text) for _, text in pairs], requires_grad=True)
            return {"scores": self.scores}

        def forward(self, tokens):
            return tokens

    def call(name, scores, labels, **options):
        reader = Reader()
        loss = getattr(theirs, name)(reader, mini_batch_size=-1, **options)
        texts = [[repr(float(x)) for x in row] for row in scores]
        value = loss([["q"] * len(scores), texts], [torch.tensor(row) for row in labels])
        value.backward()
        return float(value.detach()), reader.scores.grad.numpy().reshape(scores.shape)

    call.schemes = theirs.lambda_loss
    return call


def test_list_mle_ranknet_and_lambdarank(of_texts):
    import jax

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 5)).astype(np.float32)
    labels = rng.permuted(np.tile(np.arange(5, dtype=np.float32), (4, 1)), axis=1)
    weigh = lambda *a, **how: rax.dcg_lambdaweight(*a, normalize=True, **how) / 5  # of the list's size
    natural = dict(reduction_log="natural")
    lambdarank = dict(weighting_scheme=of_texts.schemes.LambdaRankScheme(), **natural)
    cases = [
        ("ListMLELoss", dict(respect_input_order=False), losses.list_mle),
        ("RankNetLoss", natural, rax.pairwise_logistic_loss),
        ("LambdaLoss", lambdarank, lambda *a: rax.pairwise_logistic_loss(*a, lambdaweight_fn=weigh)),
    ]
    for name, options, ours in cases:
        value, gradient = jax.value_and_grad(ours)(jnp.asarray(scores), jnp.asarray(labels))
        expected, expected_gradient = of_texts(name, scores, labels, **options)
        np.testing.assert_allclose(value, expected, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-6, err_msg=name)
