"""Whole runs in this process: over a mesh in the forms for large batches, and what a config gets wrong."""

import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.config import load_config
from jaxir.files import read_json
from jaxir.training.checkpoint import load_model
from jaxir.training.log import read_log
from jaxir.training.train import train


@pytest.mark.endtoend
def test_on_a_mesh_in_chunks_around_the_ring(texts, tmp_path):
    """Eight devices, FSDP on four of them, in the forms for large batches: the same losses as on one."""
    logs = []
    for name, mesh, chunk, mode in (("one", (1, 1), 0, "dense"), ("many", (2, 4), 1, "ring")):
        config = load_config("dense:smoke")
        config.data.source = f"beir:{texts}"
        config.batch_size = 16
        config.encoder.dropout = 0.0
        config.mesh.data, config.mesh.fsdp = mesh
        config.encode_chunk = chunk
        config.objective.rank.negatives = dict(mode=mode)
        config.log.every, config.eval.every = 1, 0
        train(config, tmp_path / name, progress=False)
        logs.append([line["loss"] for line in read_log(tmp_path / name) if "loss" in line])
        assert load_model(tmp_path / name).step == 4  # on one device, whatever wrote it
        assert read_json(tmp_path / name / "config.json")["encode_chunk"] == chunk
    np.testing.assert_allclose(*logs, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch_size", 12), "use 8 or 16"),
        (("steps", 0), "at least 1"),
        (("eval.measure", "MAP"), "known: MRR@10"),
        (("data.split", "trian"), "has no split 'trian'"),
        (("data.packed", True), "for one device and the mesh has 8"),
        (("eval.split", "val"), "Set eval.split"),
        (("max_length.doc", 9999), "ladder"),
    ],
)
def test_mistakes_in_a_config(change, message, texts, tmp_path):
    config = load_config("dense:smoke")
    config.data.source = f"beir:{texts}"
    *parents, name = change[0].split(".")
    target = config
    for part in parents:
        target = target[part]
    target[name] = change[1]
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "run", progress=False)
