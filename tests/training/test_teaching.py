"""Runs that learn from a frozen model in the same step."""

import shutil

import jax
import numpy as np
import pytest

from jaxir.checks import InputError
from jaxir.config import load_config
from jaxir.files import read_json
from jaxir.training.checkpoint import load_model
from jaxir.training.log import read_log
from jaxir.training.train import train


def config_of(texts, **changes):
    config = load_config("dense:static,smoke")
    config.data.source = f"beir:{texts}"
    config.mesh.data, config.eval.every, config.log.every = 1, 0, 1
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def teacher(texts, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    train(config_of(texts), workdir, progress=False)
    return workdir


def taught(texts, teacher, **changes):
    config = config_of(texts, teacher=str(teacher), init_from=str(teacher), **changes)
    config.objective.rank = dict(fn="jaxir.losses:kl_divergence", on="in_batch", teacher_temperature=0.25)
    return config


def test_a_student_of_the_same_weights_has_nothing_to_learn_at_first(texts, teacher, tmp_path):
    config = taught(texts, teacher)
    config.objective.rank.update(teacher_temperature=1.0, temperature=1.0)
    config.optimizer.learning_rate = 1e-9
    train(config, tmp_path, progress=False)
    assert read_log(tmp_path)[0]["rank"] == pytest.approx(0, abs=1e-6)


def test_a_run_that_goes_on_reads_its_teacher_again_and_saves_only_the_student(texts, teacher, tmp_path):
    whole = train(taught(texts, teacher), tmp_path / "whole", progress=False)
    half = taught(texts, teacher, checkpoint=dict(every=2))
    half.steps = 4
    state = train(half, tmp_path / "half", progress=False)
    jax.tree.map(np.testing.assert_array_equal, state.params, whole.params)
    first = load_model(teacher).params
    jax.tree.map(np.testing.assert_array_equal, state.params["encoder"]["teacher"], first)
    found = load_model(tmp_path / "half", step=2)
    assert found.params.keys() == first.keys()
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "4")
    again = train(half, tmp_path / "half", progress=False)
    jax.tree.map(np.testing.assert_array_equal, again.params, whole.params)
    assert read_json(tmp_path / "half" / "config.json")["teacher_fingerprint"]


def test_mistakes(texts, teacher, tmp_path):
    other = config_of(texts, teacher=str(teacher))
    other.tokenizer.vocab_size = 30
    with pytest.raises(InputError, match="has another tokenizer than this run"):
        train(other, tmp_path / "a", progress=False)
    prefixed = taught(texts, teacher)
    prefixed.prefixes.query = "query: "
    with pytest.raises(InputError, match="set prefixes to the teacher's"):
        train(prefixed, tmp_path / "b", progress=False)
