"""A wrong command line is answered with what to do, and with none of its words."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cli.failure import Exit
from cli.main import kofn

WORD = "hunter2"


@pytest.mark.parametrize(
    "args",
    [
        (WORD,),
        ("--hunter2",),
        ("--version=hunter2",),
        ("create", "name", WORD),
        ("create", "name", WORD, "two"),
        ("create", "name", "--hunter2"),
        ("create", "name", "--exact=hunter2"),
        ("update", "name", WORD),
        ("update", "name", "--if-match", WORD),
        ("get", "name", WORD),
        ("get", "name", "--version", WORD),
        ("delete", "name", WORD),
        ("history", "name", WORD),
        ("list", "prefix", WORD),
        ("status", WORD),
        ("env", WORD),
        ("env", "process", "file", WORD),
        ("env", "encrypt", "file", WORD),
        ("token", "revoke", "id", WORD),
        ("token", "issue", "local", WORD),
        ("local", "kill", "node-1", "--signal", WORD),
        ("local", "start", "--nodes", WORD),
        ("certificates", "issue", WORD, "one"),
    ],
)
def test_no_word_of_a_wrong_command_line_is_repeated(args: tuple[str, ...]) -> None:
    result = CliRunner().invoke(kofn, args)
    assert result.exit_code == Exit.USAGE
    assert WORD not in result.output
    assert "rror: " in result.output or "kofn: " in result.output


@pytest.mark.parametrize("command", ["create", "update"])
def test_a_value_among_the_arguments_is_answered_with_where_it_belongs(command: str) -> None:
    result = CliRunner().invoke(kofn, [command, "app/new", WORD])
    assert "a value is never an argument; pipe it in, or use --file" in result.stderr


def test_what_an_option_takes_is_still_told() -> None:
    def answer(*args: str) -> str:
        return CliRunner().invoke(kofn, args).stderr

    assert "Did you mean --json?" in answer("get", "name", "--jsn")
    assert "'--version': a whole number from 1 on." in answer("get", "name", "--version", "x")
    assert "from 2 to 255." in answer("local", "start", "--nodes", "1")
    assert "'--file': name a readable file." in answer("create", "name", "--file", "/")
    assert "'--data': name a readable folder." in answer("local", "stop", "--data", __file__)
    assert "choose one of gateway, node, client." in answer("certificates", "issue", "x", "y")
    assert "Missing argument 'NAME'" in answer("get")
    assert "There is no such command." in answer("gett", "name")


def test_run_repeats_nothing_of_its_own_options_either() -> None:
    result = CliRunner().invoke(kofn, ["run", "--hunter2", "true"])
    assert result.exit_code == 125
    assert WORD not in result.output
