import importlib
import pkgutil

import pytest

from jaxir.checks import InputError
from jaxir.data import sources
from jaxir.types import Doc, Source


def own_source(argument):
    return Source(f"own {argument}", [Doc("a", "", "text")], {}, {})


def test_every_file_is_a_source():
    names = {module.name for module in pkgutil.iter_modules(sources.__path__)}
    assert names == {"beir", "ir_datasets", "pydocs", "tfds"}
    for name in names:
        assert callable(importlib.import_module(f"jaxir.data.sources.{name}").open)


@pytest.mark.parametrize(("spec", "argument"), [("@some/dir", "some/dir"), ("", "")])
def test_a_function_of_your_own(spec, argument):
    source = sources.open_source(f"tests.data.test_sources:own_source{spec}")
    assert source.name == f"own {argument}"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("pydoc", "Did you mean 'pydocs'"),
        ("some/folder", "a folder in BEIR layout is beir:FOLDER"),
        ("", "unknown source ''"),
        ("tests.data.test_sources:own_sauce", "Did you mean 'own_source'"),
        ("no.such.module:open@x", "cannot import"),
    ],
)
def test_unknown_sources(spec, text):
    with pytest.raises(InputError, match=text):
        sources.open_source(spec)


def test_what_is_data_may_not_name_other_packages():
    with pytest.raises(InputError, match="outside jaxir"):
        sources.open_source("tests.data.test_sources:own_source", allow=("jaxir",))
