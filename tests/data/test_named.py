import pytest

from jaxir.checks import InputError
from jaxir.config import load_config


def test_a_short_name_sets_the_source_and_the_name(monkeypatch):
    monkeypatch.setenv("JAXIR_DATA", "/data")
    config = load_config("cross_encoder:squad")
    assert config.data.source == "beir:/data/squad-sentences"
    assert config.name == "cross-encoder-squad"
    assert load_config("policy_gradient:wikiqa,reinforce").data.source == "beir:/data/wikiqa"


def test_two_data_sets_are_refused():
    with pytest.raises(InputError, match=r"2 data sets, squad and scifact; name one.*data\.sources"):
        load_config("dense:squad,scifact")


def test_a_config_without_one_keeps_its_own_source():
    config = load_config("dense")
    assert (config.data.source, config.name) == ("pydocs", "dense")


@pytest.mark.parametrize("config", ["dense", "splade", "cross_encoder", "policy_gradient", "smae"])
def test_words_without_spaces_get_a_unigram_vocabulary(config):
    assert load_config(f"{config}:jaquad").tokenizer.kind == "unigram"
    assert load_config(f"{config}:squad").tokenizer.kind == "wordpiece"
