"""Downloads are tested against a cache on disk, in the layout that the hub's library keeps."""

import fnmatch
import json

import pytest

from jaxir.models.pretrained import hub
from tests.models.pretrained import folders


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_model_in_the_cache_is_found_by_name(cache):
    repo = cache / "models--someone--tiny"
    folders.write(repo / "snapshots" / "abc123")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc123")
    assert hub.find("someone/tiny") == repo / "snapshots" / "abc123"


@pytest.mark.parametrize("name", ["someone/absent", "absent"])
def test_without_a_network_it_says_what_to_do(name, cache):
    with pytest.raises(hub.InputError, match="cannot be downloaded from here"):
        hub.find(name)


@pytest.mark.parametrize("name", ["./model", "a/b/c", "/no/such/folder", "~/nothing-here"])
def test_what_looks_like_a_folder_is_not_looked_for_on_the_hub(name):
    with pytest.raises(hub.InputError, match="there is no folder"):
        hub.find(name)


def test_only_files_that_are_read_are_downloaded(tmp_path):
    folders.write(tmp_path / "m", projection=(dict(features=3, bias=True, activation="tanh"),))
    files = [str(f.relative_to(tmp_path / "m")) for f in (tmp_path / "m").rglob("*") if f.is_file()]
    wanted = [f for f in files if any(fnmatch.fnmatch(f, pattern) for pattern in hub.FILES)]
    assert sorted(set(files) - set(wanted)) == ["README.md"]
    assert "2_Dense/model.safetensors" in json.dumps(wanted)
    for foreign in (
        "pytorch_model.bin",
        "onnx/model.onnx",
        "tf_model.h5",
        "modeling.py",
        "openvino/model.bin",
    ):
        assert not any(fnmatch.fnmatch(foreign, pattern) for pattern in hub.FILES)
