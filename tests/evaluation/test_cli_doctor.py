import pytest
from absl import flags

from jaxir.checks import InputError
from jaxir.cli import doctor
from jaxir.evaluation import checkup
from jaxir.evaluation.finding import Finding


def call(*args):
    values = flags.FlagValues()
    doctor.define(values)
    positional = values(["jaxir doctor", *args])[1:]
    doctor.run(values, positional)


def test_it_exits_with_1_only_if_something_failed(monkeypatch, capsys):
    findings = [Finding("ok", "a", "fine"), Finding("warn", "b", "look", "there")]
    monkeypatch.setattr(checkup, "examine", lambda **options: findings)
    call("--workdir=w")
    assert "1 ok, 1 to look at, 0 failed" in capsys.readouterr().out
    findings.append(Finding("fail", "c", "broken", "mend"))
    with pytest.raises(SystemExit) as caught:
        call("--workdir=w")
    assert caught.value.code == 1
    assert "-> mend" in capsys.readouterr().out


def test_misuse():
    with pytest.raises(InputError, match="give --workdir=DIR"):
        call()
    with pytest.raises(InputError, match="takes flags only, not 'x'"):
        call("x")
    with pytest.raises(InputError, match="Did you mean 'nDCG'"):
        call("--workdir=w", "--measures=ndcg@10")
    with pytest.raises(InputError, match="there is no directory nowhere"):
        call("--index=nowhere")
    with pytest.raises(InputError, match="add --sizes"):
        call("--workdir=w", "--dims=8")
    with pytest.raises(InputError, match="from small to large"):
        call("--workdir=w", "--sizes", "--dims=8,4")
