import pytest

from jaxir.checks import InputError
from jaxir.training.build import negatives_of


def test_the_config_names_files_for_all_sources_or_for_each():
    data = dict(negatives_file=None, negatives_files=(), sources=())
    assert negatives_of({"data": data}, 2) is None
    data["negatives_files"] = (("a.jsonl", 2.0),)
    assert negatives_of({"data": data}, 2) == [(("a.jsonl", 2.0),)] * 2
    data["sources"] = (dict(source="x", negatives_files=["b.jsonl"]), dict(source="y"), "z")
    assert negatives_of({"data": data}, 3) == [["b.jsonl"], *[(("a.jsonl", 2.0),)] * 2]
    data["negatives_file"] = "c.jsonl"
    with pytest.raises(InputError, match=r"is c.jsonl and data.negatives_files names 1 more"):
        negatives_of({"data": data})
