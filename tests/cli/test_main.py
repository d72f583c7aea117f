"""The command: help, unknown words, and one sentence with exit code 2 for a user's mistake."""

import importlib

import pytest

from jaxir.cli.main import COMMANDS


def test_help_lists_every_command_with_one_line(run_jaxir):
    out = run_jaxir("--help")
    assert out.returncode == 0
    for name, line in COMMANDS.items():
        assert f"{name} " in out.stdout
        assert line in out.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    from jaxir.cli.main import main

    main([name, "--help"])
    text = capsys.readouterr().out
    assert f"\n  jaxir {name} " in text, "a line to copy"
    assert "flags:" in text
    assert importlib.import_module(f"jaxir.cli.{name}").run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "--workdri=x"], "Did you mean 'workdir'"),
        (["train"], "give --config"),
        (["train", "--config=quickstart"], "give --workdir"),
        (["train", "--config=quickstrat", "--workdir=x"], "Did you mean 'quickstart'"),
        (["train", "--config=quickstart:smke", "--workdir=x"], "Did you mean 'smoke'"),
        (["train", "--config=quickstart", "--config.stepz=3", "--workdir=x"], "Did you mean 'steps'"),
        (["train", "--config=quickstart", "--config.steps=x", "--workdir=x"], "is not"),
        (["train", "steps=3", "--config=quickstart", "--workdir=x"], "takes no argument"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    from jaxir.cli.main import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert error.startswith("jaxir: ")
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_no_traceback_reaches_the_user(run_jaxir):
    out = run_jaxir("train", "--config=quickstart", "--config.batch_size=0", "--workdir=/dev/null/x")
    assert out.returncode == 2
    assert "Traceback" not in out.stderr
