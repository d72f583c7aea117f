"""What the README says runs, runs."""

import re
import shlex

from jaxir.cli.main import COMMANDS


def test_the_functional_example(root):
    code = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)[0]
    names: dict = {}
    exec(code, names)
    assert names["loss"].shape == ()
    assert callable(names["step"])
    assert len(code.strip().splitlines()) <= 16


def test_commands_and_their_flags_exist(root):
    import importlib

    from absl import flags

    text = (root / "README.md").read_text()
    found = [line for line in text.splitlines() if line.startswith("jaxir ")]
    assert found
    for line in found:
        name, *rest = shlex.split(line, comments=True)[1:]
        assert name in COMMANDS or name.startswith("-")
        values = flags.FlagValues()
        command = importlib.import_module(f"jaxir.cli.{name}")
        command.define(values)
        used = [word.removeprefix("--").split("=")[0] for word in rest if word.startswith("--")]
        assert all(flag.startswith("config.") or flag in values for flag in used), line


def test_linked_files_are_there(root):
    for page in [root / "README.md", *(root / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
