"""Standard streams that are closed or full, as a shell leaves them: the command says what could not be done, and what was."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_gateway import FakeGateway
from test_cli_token import CONTENT

from cli.failure import Exit

Shell = Callable[..., "subprocess.CompletedProcess[str]"]
FULL = "kofn: cannot write the output: No space left on device — "
CLOSED = "kofn: cannot write the output: Bad file descriptor — "


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    with FakeGateway(tmp_path / "gateway") as running:
        running.secrets = {"db/password": []}
        running.add("db/password", {"value": "hunter2"})
        yield running


@pytest.fixture
def shell(gateway: FakeGateway, tmp_path: Path) -> Shell:
    """A line of sh in which ``kofn`` is the command line under test, with ``file_bytes`` as the largest file that it may write."""
    (tmp_path / "kofn").write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
    (tmp_path / "kofn").chmod(0o700)
    environment = os.environ | {name: value for name, value in gateway.settings().items() if value is not None}
    environment |= {"PYTHONPATH": str(Path(__file__).parent.parent), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def run(line: str, file_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
        def limit() -> None:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        return subprocess.run(
            ["sh", "-c", line],
            env=environment,
            cwd=tmp_path,
            input="",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=limit,
        )

    return run


# Closed


@pytest.mark.parametrize("command", ["create new", "update db/password"])
def test_a_value_cannot_be_read_from_a_closed_stdin(shell: Shell, gateway: FakeGateway, command: str) -> None:
    result = shell(f"kofn {command} <&-")
    assert result.returncode == Exit.USAGE
    assert result.stderr == "kofn: cannot read the value from stdin: Bad file descriptor — pipe it in, or use --file\n"
    assert gateway.requests == []


def test_without_a_stdin_delete_asks_nothing(shell: Shell, gateway: FakeGateway) -> None:
    assert shell("kofn delete db/password <&-").stdout == "deleted db/password\n"
    assert gateway.secrets == {}


@pytest.mark.parametrize("command", ["get db/password", "get db/password --json", "list", "history db/password", "status"])
def test_a_closed_stdout_is_told(shell: Shell, command: str) -> None:
    result = shell(f"kofn {command} >&-")
    assert result.returncode == Exit.FAILED
    assert result.stderr.startswith(CLOSED)
    assert result.stderr.count("\n") == 1


def test_all_streams_may_be_closed_where_none_is_needed(shell: Shell, gateway: FakeGateway) -> None:
    assert shell("kofn delete db/password <&- >&- 2>&-").returncode == Exit.FAILED
    assert gateway.secrets == {}


# Full


@pytest.mark.parametrize("command", ["get db/password", "get db/password --json", "list", "history db/password", "status"])
def test_a_full_stdout_is_told(shell: Shell, command: str) -> None:
    result = shell(f"kofn {command} > /dev/full")
    assert result.returncode == Exit.FAILED
    assert result.stderr == f"{FULL}make room, or send the output elsewhere\n"


def test_a_write_whose_report_is_lost_says_that_it_was_done(shell: Shell, gateway: FakeGateway) -> None:
    for command, done in (
        ("create new", "created new, version 1"),
        ("update new", "updated new, version 2"),
        ("delete new", "deleted new"),
    ):
        result = shell(f"echo value | kofn {command} > /dev/full")
        assert (result.returncode, result.stderr) == (Exit.FAILED, f"{FULL}it was done all the same: {done}\n")
    assert gateway.secrets.keys() == {"db/password"}


def test_a_reader_who_has_seen_enough_ends_it_quietly(shell: Shell, gateway: FakeGateway) -> None:
    gateway.secrets |= {f"name-{number}": [] for number in range(1000)}
    result = shell("kofn list | head -n 1")
    assert (result.stdout, result.stderr) == ("db/password\n", "")


# Tokens


@pytest.mark.parametrize("stdout", ["> /dev/full", ">&-"])
def test_a_token_that_cannot_be_printed_is_taken_back(shell: Shell, tmp_path: Path, stdout: str) -> None:
    (tmp_path / "access.toml").write_text(CONTENT)
    result = shell(f"kofn token issue app --access access.toml {stdout}")
    assert result.returncode == Exit.FAILED
    assert result.stderr.endswith("— the token was taken back\n")
    assert (tmp_path / "access.toml").read_text().strip() == CONTENT.strip()


def test_a_token_that_nobody_reads_is_taken_back(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text(CONTENT)
    no_reader = "mkfifo pipe; exec 3<>pipe 4>pipe 3<&-"
    result = shell(f"{no_reader}; kofn token issue app --access access.toml >&4")
    assert (result.returncode, result.stderr) == (1, "")
    assert (tmp_path / "access.toml").read_text().strip() == CONTENT.strip()


def test_a_token_whose_file_cannot_be_written_is_taken_back(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text(CONTENT)
    result = shell("kofn token issue app --access access.toml --out absent/token")
    assert result.returncode == Exit.USAGE
    assert (tmp_path / "access.toml").read_text().strip() == CONTENT.strip()


# .env files


def test_room_for_the_result_is_kept_before_anything_is_created(shell: Shell, gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"A=enc(new/one, {'x' * 8000})\n")
    result = shell("kofn env process env -o out", file_bytes=10_000)
    assert result.returncode == Exit.USAGE
    assert "cannot write" in result.stderr
    assert gateway.requests == []
    assert not (tmp_path / "out").exists()


def test_kept_room_that_is_not_needed_is_given_back(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"A=enc(new/one, {'x' * 8000})\n")
    assert shell("kofn env process env -o out").returncode == Exit.OK
    assert (tmp_path / "out").read_text() == "A=secret(new/one)\n"


@pytest.mark.parametrize("output", ["-o out", "> /dev/full"])
def test_a_result_lost_after_secrets_were_created_can_be_had_again(shell: Shell, gateway: FakeGateway, tmp_path: Path, output: str) -> None:
    gateway.add("db/password", {"value": "v" * 20_000})
    (tmp_path / "env").write_text("A=secret(db/password)\nB=enc(new/one, plaintext)\n")
    result = shell(f"kofn env process env {output}", file_bytes=10_000)
    assert result.returncode == Exit.FAILED
    assert "these secrets were created" in result.stderr
    assert result.stderr.endswith("\n  secret(new/one)\n")
    assert not (tmp_path / "out").exists()
    key = re.search(r"--idempotency-key (\S+)", result.stderr)
    assert key is not None
    assert shell(f"kofn env process env -o other --idempotency-key {key[1]}").returncode == Exit.OK
    assert (tmp_path / "other").read_text() == f"A={'v' * 20_000}\nB=secret(new/one)\n"
    assert len(gateway.secrets["new/one"]) == 1


def test_a_result_lost_where_nothing_was_created_is_told_as_such(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=secret(db/password)\n")
    result = shell("kofn env process env > /dev/full")
    assert result.stderr == f"{FULL}make room, or send the output elsewhere\n"
