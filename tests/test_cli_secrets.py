"""``kofn create|update|get|history|delete|list|status`` against a gateway over TLS."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_gateway import TOKEN, FakeGateway

from cli.failure import EXIT_OF, MEANING, Exit
from cli.main import kofn
from model.errors import BY_CODE

Kofn = Callable[..., Result]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    with FakeGateway(tmp_path / "gateway") as running:
        yield running


@pytest.fixture
def run(gateway: FakeGateway) -> Kofn:
    return lambda *args, stdin=b"": CliRunner().invoke(kofn, args, input=stdin, env=gateway.settings())


def on_terminal(gateway: FakeGateway, *args: str, typed: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Run kofn on a pseudo-terminal, typing each second part once the first is seen: exit code, everything shown."""
    environment = os.environ | {name: value for name, value in gateway.settings().items() if value is not None}
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *args], stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    )
    os.close(terminal)
    shown, deadline = b"", time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            if select.select([controller], [], [], 0.05)[0]:
                try:
                    shown += os.read(controller, 4096)
                except OSError:
                    break
            if typed and typed[0][0] in shown:
                time.sleep(0.1)
                os.write(controller, typed.pop(0)[1])
            if process.poll() is not None and not select.select([controller], [], [], 0)[0]:
                break
        return process.wait(timeout=5), shown
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def test_a_value_from_stdin_is_created_and_read_back(run: Kofn) -> None:
    assert run("create", "db/password", stdin=b"hunter2").output == "created db/password, version 1\n"
    assert run("get", "db/password").stdout_bytes == b"hunter2"


def test_exactly_one_newline_at_the_end_of_stdin_is_dropped(run: Kofn, gateway: FakeGateway) -> None:
    run("create", "one", stdin=b"value\n")
    run("create", "two", stdin=b"value\n\n")
    run("create", "crlf", stdin=b"value\r\n")
    run("create", "none", stdin=b"\n")
    assert [gateway.secrets[name][0]["value"] for name in ("one", "two", "crlf", "none")] == ["value", "value\n", "value\r", ""]


def test_exact_keeps_the_newline_at_the_end_of_stdin(run: Kofn, gateway: FakeGateway) -> None:
    run("create", "exact", "--exact", stdin=b"value\n")
    assert gateway.secrets["exact"][0]["value"] == "value\n"


def test_a_file_is_taken_byte_for_byte(run: Kofn, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_bytes(b"line\r\nline\n")
    run("create", "file", "--file", str(path))
    assert run("get", "file").stdout_bytes == b"line\r\nline\n"


def test_bytes_that_are_not_utf_8_travel_as_base64_and_come_back_the_same(run: Kofn, gateway: FakeGateway) -> None:
    blob = bytes(range(256))
    assert run("create", "blob", "--exact", stdin=blob).exit_code == 0
    assert gateway.secrets["blob"][0]["encoding"] == "base64"
    assert run("get", "blob").stdout_bytes == blob


def test_a_value_is_never_taken_from_the_command_line(run: Kofn, gateway: FakeGateway) -> None:
    assert run("create", "name", "value").exit_code == Exit.USAGE
    assert gateway.requests == []


def test_a_value_over_1_mib_is_refused_before_anything_is_sent(run: Kofn, gateway: FakeGateway) -> None:
    assert run("create", "large", stdin=b"x" * (1024 * 1024 + 2)).exit_code == Exit.REFUSED
    assert gateway.requests == []


def test_a_missing_file_is_a_usage_error(run: Kofn, tmp_path: Path) -> None:
    result = run("create", "file", "--file", str(tmp_path / "absent"))
    assert result.exit_code == Exit.USAGE
    assert "No such file" in result.stderr


def test_exact_and_file_exclude_each_other(run: Kofn) -> None:
    assert run("create", "file", "--exact", "--file", "x").exit_code == Exit.USAGE


def test_a_terminal_is_asked_for_the_value_twice_without_echo(gateway: FakeGateway) -> None:
    code, shown = on_terminal(gateway, "create", "typed", typed=[(b"Value", b"hunter2\n"), (b"Once more", b"hunter2\n")])
    assert code == 0
    assert b"hunter2" not in shown
    assert gateway.secrets["typed"][0]["value"] == "hunter2"


def test_get_adds_a_newline_on_a_terminal_only(gateway: FakeGateway, run: Kofn) -> None:
    run("create", "name", stdin=b"hunter2")
    assert on_terminal(gateway, "get", "name", typed=[]) == (0, b"hunter2\r\n")


def test_history_is_a_table_on_a_terminal(gateway: FakeGateway, run: Kofn) -> None:
    run("create", "name", stdin=b"one")
    code, shown = on_terminal(gateway, "history", "name", typed=[])
    assert code == 0
    assert b"valid from" in shown
    assert b"now" in shown


def test_delete_asks_on_a_terminal_and_a_no_deletes_nothing(gateway: FakeGateway, run: Kofn) -> None:
    run("create", "name", stdin=b"one")
    code, _ = on_terminal(gateway, "delete", "name", typed=[(b"[y/N]", b"n\n")])
    assert code == 1
    assert "name" in gateway.secrets
    code, _ = on_terminal(gateway, "delete", "name", typed=[(b"[y/N]", b"y\n")])
    assert code == 0
    assert "name" not in gateway.secrets


def test_an_update_makes_a_new_version_and_old_ones_stay_readable(run: Kofn, gateway: FakeGateway) -> None:
    run("create", "name", stdin=b"one")
    assert run("update", "name", stdin=b"two").output == "updated name, version 2\n"
    assert run("get", "name").stdout == "two"
    assert run("get", "name", "--version", "1").stdout == "one"
    assert run("get", "name", "--at", gateway.secrets["name"][0]["valid_from"]).stdout == "one"


def test_get_json_is_the_whole_answer(run: Kofn) -> None:
    run("create", "name", stdin=b"one")
    answer = json.loads(run("get", "name", "--json").stdout)
    assert answer.keys() == {"name", "version", "valid_from", "valid_to", "value", "encoding"}


def test_a_time_that_is_none_is_refused_without_asking_the_vault(run: Kofn, gateway: FakeGateway) -> None:
    result = run("get", "name", "--at", "yesterday")
    assert result.exit_code == Exit.REFUSED
    assert "2026-01-31T12:00:00Z" in result.stderr
    assert "%2B" not in result.stderr
    assert gateway.requests == []


def test_version_and_time_exclude_each_other(run: Kofn) -> None:
    assert run("get", "name", "--version", "1", "--at", "2026-01-01T00:00:00Z").exit_code == Exit.USAGE


def test_an_update_at_another_version_than_expected_is_a_conflict(run: Kofn, gateway: FakeGateway) -> None:
    run("create", "name", stdin=b"one")
    assert run("update", "name", "--if-match", "2", stdin=b"two").exit_code == Exit.CONFLICT
    assert run("update", "name", "--if-match", "1", stdin=b"two").exit_code == Exit.OK
    assert gateway.requests[-1][2]["if-match"] == '"1"'


def test_history_is_tab_separated_for_programs(run: Kofn) -> None:
    run("create", "name", stdin=b"one")
    run("update", "name", stdin=b"two")
    first, second = (line.split("\t") for line in run("history", "name").stdout.splitlines())
    assert [first[0], second[0]] == ["1", "2"]
    assert first[2] == second[1]
    assert second[2] == ""
    assert json.loads(run("history", "name", "--json").stdout)["versions"][1]["valid_to"] is None


def test_list_follows_every_page(run: Kofn, gateway: FakeGateway) -> None:
    names = [f"app/{number:04}" for number in range(2001)]
    gateway.secrets |= {name: [] for name in [*names, "other"]}
    assert run("list", "app/").stdout.splitlines() == names
    assert len(gateway.requests) == 3
    assert json.loads(run("list", "--json", "app/").stdout) == {"names": names}
    assert json.loads(run("list", "nothing/", "--json").stdout) == {"names": []}


def test_a_deleted_secret_is_gone(run: Kofn) -> None:
    run("create", "name", stdin=b"one")
    assert run("delete", "name").output == "deleted name\n"
    assert run("get", "name").exit_code == Exit.NOT_FOUND
    assert run("delete", "name").exit_code == Exit.NOT_FOUND


def test_creating_an_existing_secret_is_a_conflict(run: Kofn) -> None:
    run("create", "name", stdin=b"one")
    result = run("create", "name", stdin=b"two")
    assert result.exit_code == Exit.CONFLICT
    assert "kofn update NAME" in result.stderr


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a/", "a//b", "a b", "ü", "a\n", "%2e%2e", "x" * 256])
def test_a_bad_name_is_refused_without_asking_the_vault(run: Kofn, gateway: FakeGateway, name: str) -> None:
    assert run("get", "--", name).exit_code == Exit.REFUSED
    assert gateway.requests == []


def test_status_exits_with_6_when_writes_are_not_served(run: Kofn, gateway: FakeGateway) -> None:
    assert run("status").exit_code == Exit.OK
    gateway.status = {"reads": True, "writes": False, "degraded": True}
    result = run("status")
    assert result.exit_code == Exit.UNAVAILABLE
    assert "writes   not served" in result.stdout


def test_every_error_code_has_an_exit_code_and_every_exit_code_a_meaning() -> None:
    assert EXIT_OF.keys() == BY_CODE.keys()
    assert MEANING.keys() == set(Exit)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_a_read_exits_by_the_errors_code(run: Kofn, gateway: FakeGateway, code: str) -> None:
    gateway.faults = [("status", code)]
    result = run("get", "name")
    assert result.exit_code == EXIT_OF[code]
    assert result.stdout == ""
    assert result.stderr.startswith("kofn: ")
    assert result.stderr.count("\n") == 1


def test_no_failure_shows_the_token_or_the_value(run: Kofn, gateway: FakeGateway) -> None:
    for code in BY_CODE:
        gateway.faults = [("status", code)] * 6
        output = run("create", "name", stdin=b"hunter2").output
        assert TOKEN not in output
        assert "hunter2" not in output


def test_help_documents_every_exit_code(run: Kofn) -> None:
    shown = run("--help").stdout
    for code, meaning in MEANING.items():
        assert f"{code.value}  {meaning}" in shown
