"""docs/cli.md says everything that the command line has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from cli.failure import Exit, RunExit
from cli.main import kofn

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "cli.md").read_text("utf-8")


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_command_and_every_option_is_documented() -> None:
    for path, command in commands(kofn, "kofn"):
        assert f"`{path}" in DOCS, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert max(parameter.opts, key=len) in DOCS, (path, parameter.opts)


def test_every_exit_code_is_documented() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCS, re.MULTILINE)}
    assert documented == {code.value for code in (*Exit, *RunExit)}


def test_every_setting_is_documented() -> None:
    read = {name for path in (ROOT / "cli").glob("*.py") for name in re.findall(r'"(KOFN_[A-Z_]+)"', path.read_text("utf-8"))}
    assert {name for name in read - {"KOFN_TOKEN"} if f"`{name}`" not in DOCS} == set()
    assert "`KOFN_TOKEN`" in DOCS
