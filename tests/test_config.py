"""Import paths, overrides and variants: what a config may say, and the sentence when it may not."""

import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jaxir import losses
from jaxir.checks import InputError
from jaxir.config import TRUSTED, bind, build, find_config, import_path, load_config, override, variants_of


def test_names_a_function_and_its_arguments():
    loss = bind(dict(fn="jaxir.losses:softmax", temperature=0.5))
    s, y = jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0])
    assert loss(s, y) == losses.softmax(s, y, temperature=0.5)
    assert import_path("optax:adamw").__name__ == "adamw"
    assert bind("rax:softmax_loss").__name__ == "softmax_loss"
    assert build(dict(fn="jaxir.losses:linear_ramp", peak=2.0), steps=4)(2) == 1.0


def test_nested_specs_are_built():
    fn = bind(dict(fn="builtins:dict", inner=dict(fn="jaxir.losses:linear_ramp", peak=4.0, steps=2), n=1))
    assert fn()["inner"](1) == 2.0


def test_an_argument_can_be_a_function():
    given = bind(dict(fn="builtins:dict", by=dict(function="jaxir.losses:softmax", temperature=0.5)))()["by"]
    assert (given.func, given.keywords) == (losses.softmax, dict(temperature=0.5))
    with pytest.raises(InputError, match="Did you mean 'temperature'"):
        bind(dict(fn="builtins:dict", by=dict(function="jaxir.losses:softmax", temprature=0.5)))
    with pytest.raises(InputError, match="is data"):
        bind(dict(fn="jaxir.losses:softmax", weights=dict(function="os:system")), allow=TRUSTED)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jaxir.losses", "write 'package.module:name'"),
        ("jaxir.nothing:here", "cannot import"),
        ("jaxir.losses:sofmax", "Did you mean 'softmax'"),
        (dict(temperature=1), "no 'fn'"),
        (dict(fn="jaxir.losses:softmax", temprature=1), "Did you mean 'temperature'"),
    ],
)
def test_mistakes(spec, message):
    with pytest.raises(InputError, match=message):
        bind(spec)


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "subprocess:run",
        "builtins:exec",
        "jaxir.config:importlib.import_module",  # through a trusted module into another
        "jaxir.files:os.system",
        "jaxir.files:shutil.rmtree",
        "jaxir.cli.main:sys.exit",
    ],
)
def test_a_config_that_is_data_names_nothing_outside(path):
    with pytest.raises(InputError, match=r"is data|leads outside"):
        bind(dict(fn=path), allow=TRUSTED)
    with pytest.raises(InputError):
        bind(dict(fn="jaxir.losses:softmax", weights=dict(fn=path)), allow=TRUSTED)


def test_a_package_the_user_trusts():
    with pytest.raises(InputError, match="--allow-import=math"):
        bind("math:sqrt", allow=TRUSTED)
    assert bind("math:sqrt", allow=(*TRUSTED, "math"))(4.0) == 2.0
    assert bind("jaxir.losses:softmax", allow=TRUSTED) is losses.softmax


def example():
    return ConfigDict(
        dict(steps=3, lr=0.1, name="a", ema=placeholder(float), model=dict(dim=4), ladder=(1, 2))
    )


def test_overrides_keep_the_type():
    c = example()
    for key, text in [
        ("steps", "7"), ("lr", "1"), ("name", "12"), ("ema", "0.9"), ("model.dim", "8"), ("ladder", "(3, 4)"),
    ]:  # fmt: skip
        override(c, key, text)
    assert c.to_dict() == dict(steps=7, lr=1.0, name="12", ema=0.9, model=dict(dim=8), ladder=(3, 4))


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("stepz", "1", "Did you mean 'steps'"),
        ("model.dims", "1", "Did you mean 'model.dim'"),
        ("steps.x", "1", "no field 'steps.x'"),
        ("steps", "many", "'many' is not"),
        ("steps", "0.5", "'0.5' is not"),
    ],
)
def test_overrides_that_do_not_fit(key, text, message):
    with pytest.raises(InputError, match=message):
        override(example(), key, text)


def test_variants_and_files(tmp_path, monkeypatch):
    assert variants_of("", ["a"]) == set()
    with pytest.raises(InputError, match="Did you mean 'smoke'"):
        variants_of("smok", ["smoke"])
    assert find_config("quickstart").name == "quickstart.py"
    with pytest.raises(InputError, match="Did you mean 'quickstart'"):
        find_config("quickstrt")
    with pytest.raises(InputError, match="no config file"):
        find_config("nowhere/x.py")
    (tmp_path / "mine.py").write_text("def get_config(variant=''):\n    return variant\n")
    assert load_config(f"{tmp_path}/mine.py:v") == "v"
    (tmp_path / "broken.py").write_text("x = 1\ndef get_config(:\n")
    with pytest.raises(InputError, match="line 2"):
        load_config(f"{tmp_path}/broken.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match="no get_config"):
        load_config(f"{tmp_path}/empty.py")
    monkeypatch.chdir(tmp_path)  # one's own ./configs comes first
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.py").write_text("def get_config(variant=''):\n    return 'mine'\n")
    assert load_config("quickstart") == "mine"
