"""Losses of hidden tokens beside float64 numpy, at two sizes, with the decoder and without."""

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxir.checks import InputError
from jaxir.models.config import TransformerConfig
from jaxir.models.masking import Masking
from jaxir.models.smae import masked_language_model, with_decoder
from jaxir.models.transformer import Transformer
from jaxir.objectives import chunked

from . import tiny

TRUNK = {**tiny.TRUNK, "layers": 2, "norm_position": "post", "bias": True}
SIZES = ((1, 3), (2, 8))
IDS = dict(special_ids=(0, 1, 2), continues=tuple(range(20, 30)), mask_id=2)
HOW = dict(mask=0.4, decoder_mask=0.7, head=dict(activation="relu"), **IDS, **TRUNK)
TEXTS = tiny.texts([1, 5, 21, 9, 7, 0], [1, 6, 0], [1, 12, 13, 22, 25, 14, 15, 0], [1, 0])


@pytest.fixture(scope="module")
def found():
    """Everything that the tests compare, as one program."""
    encoder = masked_language_model(tiny.V, sizes=SIZES, **HOW)
    plain = masked_language_model(tiny.V, decoder=False, **HOW)
    params = tiny.draw(encoder)
    longer = tiny.texts(*(row[mask].tolist() for row, mask in zip(TEXTS.ids, TEXTS.mask)), length=11)
    masking = Masking(tiny.V, IDS["mask_id"], IDS["special_ids"], IDS["continues"])
    trunk = Transformer(TransformerConfig(tiny.V, **TRUNK))
    small = Transformer(TransformerConfig(tiny.V, **{**TRUNK, "layers": 1}))

    @jax.jit
    def run(params, texts, longer):
        keys = jax.random.split(jax.random.key(0), 3)  # as without a key
        light = masking(texts.ids, texts.mask, keys[0], 0.4)
        heavy = masking(texts.ids, texts.mask, keys[1], 0.7)
        states = trunk.apply({"params": params["trunk"]}, light.ids, texts.mask, layers=(1, 2))
        shared = {k: x for k, x in params["trunk"].items() if not k.startswith("layers_")}
        firsts = [transformed(params, x[:, 0], dims) for x, (_, dims) in zip(states, SIZES)]
        decode = lambda first: small.apply(
            {"params": {**shared, **params["decoder"]}}, heavy.ids, texts.mask, first=first
        )
        return dict(
            light=light,
            heavy=heavy,
            states=states,
            decoded=[decode(first)[0] for first in firsts],
            values=encoder.encode(params, texts, side="doc").values,
            longer=plain.encode(params, longer, side="doc").values,
            plain=plain.encode(params, texts, side="doc").values,
            chunks=chunked(plain, 3).encode(params, texts, side="doc").values,
            drawn=plain.encode(params, texts, side="doc", key=jax.random.key(5)).values,
        )

    return params, jax.device_get(run(params, TEXTS, longer))


def transformed(params, hidden, dims, relu=jax.nn.relu, sqrt=jax.numpy.sqrt):
    """norm(relu(hidden[:dims] W[:dims] + b))."""
    head = params["mlm"]
    x = relu(hidden[..., :dims] @ head["transform"]["kernel"][:dims] + head["transform"]["bias"])
    x = x - x.mean(-1, keepdims=True)
    x = x / sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return x * head["norm"]["scale"] + head["norm"]["bias"]


def losses(params, hidden, dims, masked):
    """Sum of -log p and number of predictions, by text, in float64."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x = transformed(params, np.asarray(hidden, np.float64), dims, tiny.relu, np.sqrt)
    z = x @ params["trunk"]["token_embedding"]["embedding"].T + params["mlm"]["bias"]
    nll = logsumexp(z, axis=-1) - np.take_along_axis(z, np.asarray(TEXTS_IDS)[..., None], -1)[..., 0]
    rows = []
    for row in range(len(z)):
        at = masked.at[row][masked.where[row]]
        rows.append([nll[row, at].sum(), len(at)])
    return np.array(rows)


TEXTS_IDS = np.where(TEXTS.mask, TEXTS.ids, 0)


def test_losses_are_those_of_the_formula(found):
    params, got = found
    assert 2 < got["light"].where.sum() < got["heavy"].where.sum()
    wanted = []
    for hidden, decoded, (_, dims) in zip(got["states"], got["decoded"], SIZES):
        wanted += [
            losses(params, hidden, dims, got["light"]),
            losses(params, decoded, tiny.TRUNK["dim"], got["heavy"]),
        ]
    np.testing.assert_allclose(got["values"], np.concatenate(wanted, axis=1), rtol=2e-5, atol=1e-5)
    assert (got["values"][3] == 0).all()  # a text without a word


def test_one_size_without_a_decoder_is_plain_masked_language_modelling(found):
    _, got = found
    np.testing.assert_allclose(got["plain"], got["values"][:, 4:6], rtol=1e-5)


def test_padding_and_chunks_change_nothing(found):
    _, got = found
    np.testing.assert_allclose(got["longer"], got["plain"], rtol=1e-4)
    np.testing.assert_allclose(got["chunks"], got["plain"], rtol=1e-5)


def test_a_key_draws_other_masks(found):
    _, got = found
    assert not np.allclose(got["drawn"], got["plain"])


def test_a_decoder_begins_as_the_first_block():
    params = with_decoder({"trunk": {"layers_0": {"x": np.ones(2)}, "layers_1": {}, "token_embedding": {}}})
    assert params["decoder"].keys() == {"layers_0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(sizes=((1, 9),)), "1 to 2 layers and 1 to 8 dimensions"),
        (dict(sizes=((0, 4),)), "1 to 2 layers"),
        (dict(sizes=((2, 8), (1, 4))), "from small to large"),
        (dict(sizes=((1, 4), (1, 4))), "without repetitions"),
        (dict(sizes=(4, 8)), "pairs of layers and dims"),
        (dict(mask=0), "mask is 0"),
        (dict(mask_id=None), "mask_id is None"),
        (dict(continues=("continuations",)), "continuations"),
        (dict(poling="cls"), "Did you mean 'pooling'"),
    ],
)
def test_mistakes(change, message):
    with pytest.raises(InputError, match=message):
        masked_language_model(tiny.V, **{**HOW, **change})
