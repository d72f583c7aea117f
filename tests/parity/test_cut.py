"""A smaller size, exported: sentence-transformers gives the slice of the whole model to 1e-6."""

import numpy as np
import pytest

from jaxir.config import build
from jaxir.data.padding import pad
from jaxir.models import pretrained
from jaxir.models.cut import cut
from jaxir.models.pretrained.cutting import cut_spec
from tests.models.pretrained import folders
from tests.models.pretrained.test_cutting import SPLADE, TANH

pytestmark = pytest.mark.parity

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["the quick brown fox jumps over", "a ship", "ten red apples on the sea", "dog"]
TOKENIZER = folders.tiny_tokenizer()
CASES = {
    "post-norm": folders.spec_of(folders.BERT),
    "two poolings, not normalised": folders.spec_of(folders.BERT, pooling=("cls", "mean"), normalize=False),
    "pre-norm, projection": folders.spec_of(folders.MODERN, projection=8),
    "two maps": folders.spec_of(folders.BERT, projection=TANH),
    "causal": folders.spec_of(folders.PLAIN, pooling="last"),
    "splade": SPLADE,
}


@pytest.mark.parametrize("name", CASES)
def test_the_export_is_the_slice(name, tmp_path):
    spec, size = CASES[name], dict(layers=1, dims=5)
    whole, params = build(spec), folders.random_params(spec)
    pretrained.export(tmp_path / "m", *cut_spec(spec, params, **size), TOKENIZER, max_length=16)
    ids = pad(TOKENIZER.encode_batch(TEXTS, max_length=16))
    want = np.asarray(cut(whole, **size).encode(params, ids, side="doc").values)
    if whole.kind == "sparse":
        model = sentence_transformers.SparseEncoder(str(tmp_path / "m"), device="cpu")
        got = model.encode_document(TEXTS, convert_to_sparse_tensor=False).numpy()
        assert model.max_active_dims == 5
    else:
        model = sentence_transformers.SentenceTransformer(str(tmp_path / "m"), device="cpu")
        got = model.encode_document(TEXTS)
    np.testing.assert_allclose(got, want, atol=1e-6)
