"""Merging models by the command: the soup, and what is refused."""

import json

import jax
import numpy as np
import pytest

from jaxir.cli.main import main
from jaxir.models import pretrained, soup
from jaxir.training.checkpoint import load_model
from tests.models.pretrained import folders

SPEC = dict(fn="jaxir.models.static:static", vocab_size=80, dim=4)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of small models, by name; the first two differ in their numbers only."""
    home = tmp_path_factory.mktemp("models")
    tokenizer = folders.tiny_tokenizer()
    other = folders.tokenizers.train(folders.TEXTS, vocab_size=50)

    def write(name, tokenizer=tokenizer, add=0.0, prompts=None, **changes):
        spec = SPEC | changes
        params = jax.tree.map(lambda x: x + add, folders.random_params(spec))
        pretrained.export(home / name, spec, params, tokenizer, to="jaxir", prompts=prompts, max_length=8)

    write("a", dropout=0.1)  # which does not count
    write("b", add=1.0)
    write("wider", dim=8)
    write("not-normalised", normalize=False)
    write("other-tokenizer", tokenizer=other)
    write("other-prompts", prompts={"query": "q: "})
    return home


def run(*arguments):
    main(["merge", *map(str, arguments)])


@pytest.mark.parametrize(
    ("flags", "share"),
    [([], 0.5), (["--weights=3,1"], 0.25), (["--weights=0.4,0.6", "--method=slerp"], None)],
)
def test_a_merged_model_loads(flags, share, models, tmp_path):
    run(models / "a", models / "b", f"--out={tmp_path / 'out'}", *flags)
    a, b, merged = (load_model(p).params for p in (models / "a", models / "b", tmp_path / "out"))
    line = lambda x, y: (1 - share) * x + share * y
    want = soup.slerp(a, b, 0.6) if share is None else jax.tree.map(line, a, b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), merged, want)
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"- {models / 'b'}, weight" in card
    assert load_model(tmp_path / "out").config["max_length"]["doc"] == 8


@pytest.mark.parametrize("flags", [["--weights=0.3,0.7"], ["--method=slerp"], []], ids=str)
def test_copies_of_one_model_give_that_model(flags, models, tmp_path):
    run(models / "a", models / "a", f"--out={tmp_path / 'out'}", *flags)
    one, merged = load_model(models / "a"), load_model(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, merged.params, one.params)
    assert merged.tokenizer.fingerprint == one.tokenizer.fingerprint
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["jaxir"]["encoder"]["dim"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "two models or more"),
        (["a", "b", "--weights=1"], "1 weights were given for 2 models"),
        (["a", "b", "--weights=x,1"], "'x', which is no number"),
        (["a", "b", "--weights=-1,1"], "give 0 or more"),
        (["a", "b", "b", "--method=slerp"], "and 3 were given"),
        (["a", "wider"], "cannot be merged: dim is 4 and 8"),
        (["a", "not-normalised"], "normalize is True and False"),
        (["a", "other-tokenizer"], "tokenizer is"),
        (["a", "other-prompts"], "prefixes.query is '' and 'q: '"),
        (["a", "."], "holds no model"),
    ],
)
def test_what_is_refused(arguments, message, models, tmp_path, capsys):
    given = [a if a.startswith("--") else models / a for a in arguments]
    with pytest.raises(SystemExit) as stopped:
        run(*given, f"--out={tmp_path / 'out'}")
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
