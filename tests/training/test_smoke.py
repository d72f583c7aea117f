"""Every shipped config has a variant of seconds, and it trains."""

import pytest

from jaxir.config import load_config
from jaxir.training.train import train

# Configs that evaluate as another one here does: compiling that once is enough.
ALIKE = (
    *("inference_free", "l0", "df_flops", "decoder_splade", "dense:static", "matryoshka", "starbucks"),
    "policy_gradient",
)


@pytest.mark.endtoend
@pytest.mark.parametrize(
    "name",
    [
        *("quickstart:smoke", "dense:smoke", "dense:static,smoke", "finetune:lora,smoke", "pod:smoke"),
        *("splade:sum,smoke", "inference_free:smoke", "l0:smoke", "df_flops:smoke", "hybrid:smoke"),
        *("decoder_splade:smoke", "matryoshka:sparse,smoke", "starbucks:smoke", "cross_encoder:pg,smoke"),
        "policy_gradient:smoke",
    ],
)
def test_every_shipped_config_has_a_smoke_variant_that_runs(name, tmp_path, texts, published_bert):
    config = load_config(name)
    config.data.source = f"beir:{texts}"
    config.mesh.data = 1
    if name.startswith(ALIKE):
        config.eval.every = 0
    if config.init_from:
        config.init_from = str(published_bert)
    state = train(config, tmp_path / "run")
    assert int(state.step) == config.steps


def test_the_list_of_smoke_runs_is_complete(root):
    shipped = {p.stem for p in (root / "configs").glob("*.py")}
    of_vectors, of_terms = (
        {"quickstart", "dense", "finetune", "pod", "matryoshka", "starbucks", "policy_gradient"},
        {"inference_free", "l0", "df_flops", "hybrid"},
    )
    of_tokens, of_pairs = {"smae"}, {"cross_encoder"}  # smae in test_pretraining.py
    of_terms |= {"splade", "splade_doc", "decoder_splade"}  # splade_doc is what df_flops begins with
    assert shipped == of_vectors | of_terms | of_tokens | of_pairs, "a new config needs its smoke run above"
