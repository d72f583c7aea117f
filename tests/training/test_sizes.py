"""What sizes decide: chunks by the device's memory, and what is said of it."""

import pytest

from jaxir.checks import InputError
from jaxir.models.encoder import transformer
from jaxir.models.static import static
from jaxir.training.build import packed_groups
from jaxir.training.sizes import bytes_per_entry, describe, encode_chunk

ENCODER = transformer(100, layers=1, dim=8, heads=1)


def config(batch=1024, chunk=None, **more):
    return {
        "batch_size": batch,
        "accumulate": 1,
        "encode_chunk": chunk,
        "max_length": {"query": 16, "doc": 64},
        "data": {"listed": 0},
        "objective": {"rank": {"fn": "jaxir.losses:softmax"}},
        **more,
    }


def test_chunks_fit_the_memory():
    each = bytes_per_entry(config(), ENCODER)
    assert encode_chunk(config(), ENCODER, 1, memory=1 << 40) is None
    memory = 100 * each
    chunk = encode_chunk(config(), ENCODER, 1, memory=memory)
    assert chunk * each <= 0.4 * memory
    assert chunk == 32  # of 26 chunks at least, the next number that divides the batch
    assert encode_chunk(config(), ENCODER, 8, memory=memory) == 32  # of 128 on each device
    assert encode_chunk(config(), ENCODER, 1, memory=1) == 1
    assert encode_chunk(config(batch=64), ENCODER, 1, memory=1) is None  # small: nothing is looked at


def test_rematerialisation_and_documents_count():
    plain = bytes_per_entry(config(), ENCODER)
    assert bytes_per_entry(config(data={"listed": 3}), ENCODER) > 2 * plain
    assert bytes_per_entry(config(), transformer(100, layers=1, dim=8, heads=1, remat="full")) < plain / 2
    assert bytes_per_entry(config(), static(100, dim=8)) < plain


def test_all_layers_of_the_objective_count():
    encoder = transformer(100, layers=2, dim=8, heads=1)
    nested = {"fn": "jaxir.objectives:starbucks", "sizes": ((1, 4), (2, 8))}
    assert bytes_per_entry(config(nested=nested), encoder) > bytes_per_entry(config(), encoder)


def test_the_config_decides():
    assert encode_chunk(config(chunk=100), ENCODER, 1) == 100
    assert encode_chunk(config(chunk=0), ENCODER, 1, memory=1) is None
    assert encode_chunk(config(chunk=5000), ENCODER, 1) is None
    with pytest.raises(InputError, match="encode_chunk"):
        encode_chunk(config(chunk=-1), ENCODER, 1)


def test_packed_texts_in_chunks():
    settings = config(accumulate=2) | {"data": {"listed": 0, "packed": True}}
    assert packed_groups(settings, ENCODER, 1) == 2
    assert packed_groups(settings, ENCODER, 1, 128) == 8
    assert packed_groups(settings, ENCODER, 1, 100) == 0  # six chunks do not divide 512 entries


def test_what_is_said():
    assert describe(config(), ENCODER, 1, None) == []
    lines = describe(config(batch=8192), ENCODER, 1, 64)
    assert "encodes 64 of its 8,192 entries at a time" in lines[0]
    assert "negatives of 'rank' are tiled (the matrix of 67,108,864 scores" in lines[1]
