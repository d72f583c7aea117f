"""A smaller size written as a model of its own, read again: the slice of the whole one to 1e-6."""

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.config import build
from jaxir.models import pretrained
from jaxir.models.cut import cut
from jaxir.models.pretrained.cutting import cut_spec
from jaxir.trees import named
from tests.models.pretrained import folders
from tests.models.tiny import texts

TEXTS = texts([5, 6, 7], [8, 9])
TANH = [dict(features=n, bias=True, activation="tanh") for n in (12, 8)]
SPLADE = {**folders.spec_of(folders.BERT), "fn": "jaxir.models.sparse:splade"} | dict(
    activation="log1p_relu", trunk_activation="gelu"
)
SLIM = dict(fn="jaxir.models.slim:slim", vocab_size=80, layers=1, dim=8, heads=2)
STATIC = dict(fn="jaxir.models.static:static", vocab_size=80, dim=8)
# name -> (spec, size, how it is exported)
CASES = {
    "post-norm, two poolings": (
        folders.spec_of(folders.BERT, pooling=("cls", "mean"), normalize=False),
        dict(layers=1, dims=20),
        {},
    ),
    "pre-norm, projection": (folders.spec_of(folders.MODERN, projection=8), dict(layers=2, dims=3), {}),
    "two maps, one tower": (
        folders.spec_of(folders.BERT, projection=TANH, towers="separate"),
        dict(layers=1, dims=3),
        dict(side="doc"),
    ),
    "splade": (SPLADE, dict(layers=1, dims=3), {}),
    "slim": (SLIM, dict(dims=3), dict(to="jaxir")),
    "static": (STATIC, dict(dims=3), dict(to="jaxir")),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_again_is_the_slice(name, tmp_path):
    spec, size, how = CASES[name]
    whole, params = build(spec), folders.random_params(spec)
    pretrained.export(
        tmp_path / "m", *cut_spec(spec, params, **size), folders.tiny_tokenizer(), max_length=16, **how
    )
    found = pretrained.read(tmp_path / "m")
    small = build(found.spec)
    want = cut(whole, **size).encode(params, TEXTS, side="doc").values
    np.testing.assert_allclose(small.encode(found.params, TEXTS, side="doc").values, want, atol=1e-6)
    assert small.layers == size.get("layers", whole.layers)
    later = f"layers_{small.layers}/"
    assert any(later in path for path in named(params)) == ("layers" in size)
    assert not any(later in path for path in named(found.params))


def test_terms_kept_already_stay_the_bound():
    spec = {**SPLADE, "top_k": dict(query=3)}
    assert cut_spec(spec, folders.random_params(spec), dims=5)[0]["top_k"] == dict(query=3, doc=5)


def test_a_table_of_queries_is_whole_where_the_format_would_cut_it(tmp_path):
    spec = {**SPLADE, "query": "table"}
    spec, params = cut_spec(spec, folders.random_params(spec), dims=5)
    assert spec["top_k"] == dict(query=None, doc=5)
    with pytest.raises(InputError, match=r"max_active_dims is one number for both. Use --to=jaxir"):
        pretrained.export(tmp_path / "m", spec, params, folders.tiny_tokenizer(), max_length=16)
