"""``kofn env process|encrypt`` and ``kofn run`` against a gateway over TLS, with real files and real commands."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_gateway import FakeGateway

from cli import files
from cli.failure import Exit, Failure, RunExit
from cli.main import kofn

Kofn = Callable[..., Result]
Started = Callable[..., "subprocess.CompletedProcess[str]"]

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    with FakeGateway(tmp_path / "gateway") as running:
        running.secrets = {"db/password": [], "api/key": []}
        running.add("db/password", {"value": "hunter2"})
        running.add("api/key", {"value": "key-1"})
        running.add("api/key", {"value": "key-2"})
        yield running


@pytest.fixture
def run(gateway: FakeGateway) -> Kofn:
    return lambda *args: CliRunner().invoke(kofn, [str(arg) for arg in args], env=gateway.settings())


@pytest.fixture
def start(gateway: FakeGateway, tmp_path: Path) -> Started:
    """``kofn run`` as a process of its own, for it turns into the command."""
    root = str(Path(__file__).parent.parent)
    settings = {name: value for name, value in gateway.settings().items() if value is not None}

    def started(*args: object, **changed: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", "run", *(str(arg) for arg in args)]
        environment = os.environ | settings | {"PYTHONPATH": root} | changed
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    return started


def put(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# process


def test_references_become_values_and_everything_else_stays(run: Kofn, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "# comment\r\nPLAIN='secret(db/password)'\r\nURL=postgres://app:secret(db/password)@host\r\n")
    out = tmp_path / "out"
    assert run("env", "process", path, "-o", out).exit_code == Exit.OK
    assert out.read_bytes() == b"# comment\r\nPLAIN='secret(db/password)'\r\nURL=postgres://app:hunter2@host\r\n"
    assert mode(out) == 0o600


@pytest.mark.parametrize("option", [(), ("-o", "-")])
def test_stdout_is_the_default(run: Kofn, tmp_path: Path, option: tuple[str, ...]) -> None:
    path = put(tmp_path / "env", "\ufeffA=secret(db/password)")
    assert run("env", "process", path, *option).stdout_bytes == "\ufeffA=hunter2".encode()


def test_a_bad_reference_is_named_with_its_line_and_the_old_file_stays(run: Kofn, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=secret(db/password)\nB=secret(absent)\n\nC=x-secret(gone)-secret(absent)\n")
    out = put(tmp_path / "out", "old")
    result = run("env", "process", path, "-o", out)
    assert result.exit_code == Exit.NOT_FOUND
    assert [line.strip() for line in result.stderr.splitlines()[1:]] == [
        f"{path}:2: secret(absent)",
        f"{path}:4: secret(gone)",
        f"{path}:4: secret(absent)",
    ]
    assert out.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["env", "gateway", "out"]


def test_a_missing_version_is_named_and_the_latest_one_is_not(run: Kofn, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=secret(api/key)\nB=secret(api/key@7)\n")
    result = run("env", "process", path)
    assert result.exit_code == Exit.NOT_FOUND
    assert f"{path}:2: secret(api/key@7)" in result.stderr
    assert "run: kofn history NAME" in result.stderr
    assert f"{path}:1" not in result.stderr


def test_a_line_that_does_not_parse_is_named_without_asking_the_vault(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=1\nB='unclosed\nC=secret(../x)\n")
    result = run("env", "process", path)
    assert result.exit_code == Exit.REFUSED
    assert f"{path}:2: " in result.stderr
    assert gateway.requests == []


def test_an_inline_encryption_is_carried_out_with_an_idempotency_key(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.faults = [("lose", "after")]
    path = put(tmp_path / "env", "A=enc(new/one, plaintext)\n")
    assert run("env", "process", path).stdout == "A=secret(new/one)\n"
    assert gateway.secrets["new/one"][0]["value"] == "plaintext"
    assert len({headers["idempotency-key"] for _, _, headers, _ in gateway.requests}) == 1


def test_without_expansion_secrets_are_created_and_no_value_is_written(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=secret(db/password)\nB=enc(new/one, plaintext)\n")
    assert run("env", "process", "--no-expand", "-o", path, path).exit_code == Exit.OK
    assert path.read_text() == "A=secret(db/password)\nB=secret(new/one)\n"
    assert gateway.secrets["new/one"][0]["value"] == "plaintext"


def test_a_reference_in_single_quotes_is_literal_and_that_is_said(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    content = "A='secret(db/password)'\nB='enc(new/one, plain(text))'\nC='x secret(api/key@1)'\nD='secret('\nE='an enc(x)'\n# 'secret(x)'\n"
    path = put(tmp_path / "env", content)
    result = run("env", "process", path)
    assert result.stdout == content
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [f"{path}:{line}" for line in (1, 2, 3)]
    assert "plain(text)" not in result.stderr
    assert "new/one" not in gateway.secrets


def test_an_encryption_without_a_value_is_answered_with_what_to_write(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=1\nB=enc(new/one)\n")
    result = run("env", "process", path)
    assert result.exit_code == Exit.REFUSED
    assert "write enc(NAME, value), or kofn create NAME and secret(NAME)" in result.stderr
    assert f"{path}:2: enc(new/one)" in result.stderr
    assert gateway.requests == []


def test_every_bad_line_is_told_in_full_and_on_its_own(run: Kofn, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=secret(\nB=1\nC=x enc(y)\n" + "D=secret(\n" * 30)
    lines = [line.strip() for line in run("env", "process", path).stderr.splitlines()]
    assert lines[1].startswith(f"{path}:1: `secret(` must be followed by ")
    assert lines[2].startswith(f"{path}:3: enc(NAME) must be the whole value")
    assert all(line.endswith("belongs in single quotes") for line in lines[1:-1])
    assert lines[-1] == "and 12 more"


def test_a_directory_that_cannot_be_written_to_is_found_before_anything_is_created(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=enc(new/one, plaintext)\n")
    assert run("env", "process", path, "-o", tmp_path / "absent" / "out").exit_code == Exit.USAGE
    assert gateway.requests == []


def test_a_file_that_is_not_utf_8_is_refused(run: Kofn, tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_bytes(b"A=\xff")
    assert run("env", "process", path).exit_code == Exit.REFUSED


def test_a_file_that_is_too_large_is_refused(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "#é" * 128 * 1024)
    result = run("env", "process", path)
    assert result.exit_code == Exit.REFUSED
    assert "262144 bytes" in result.stderr


# encrypt


def test_plain_values_move_into_the_vault(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", '# keep\nTOKEN=t0k\nexport QUOTED="two words"\nREF=secret(db/password)\n')
    path.chmod(0o644)
    result = run("env", "encrypt", path, "--prefix", "app/")
    assert result.stdout == "created app/TOKEN\ncreated app/QUOTED\n"
    assert path.read_text() == '# keep\nTOKEN=secret(app/TOKEN)\nexport QUOTED="secret(app/QUOTED)"\nREF=secret(db/password)\n'
    assert mode(path) == 0o600
    assert gateway.secrets["app/QUOTED"][0]["value"] == "two words"
    assert run("env", "process", path).stdout == '# keep\nTOKEN=t0k\nexport QUOTED="two words"\nREF=hunter2\n'


def test_only_the_keys_asked_for_are_encrypted(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=1\nB=2\n")
    assert run("env", "encrypt", path, "--key", "B", "-o", "-").stdout == "A=1\nB=secret(B)\n"
    assert path.read_text() == "A=1\nB=2\n"
    assert "A" not in gateway.secrets


def test_an_existing_name_is_refused_with_its_line_and_nothing_changes(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "fresh=1\nkey=2\n")
    result = run("env", "encrypt", path, "--prefix", "api/")
    assert result.exit_code == Exit.CONFLICT
    assert f"{path}:2: key" in result.stderr
    assert path.read_text() == "fresh=1\nkey=2\n"
    assert "api/fresh" not in gateway.secrets


def test_a_file_without_plain_values_is_left_alone(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=secret(db/password)\n")
    assert run("env", "encrypt", path).exit_code == Exit.OK
    assert gateway.requests == []


def test_a_key_that_is_not_there_is_named(run: Kofn, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=1\nREF=secret(db/password)\n")
    result = run("env", "encrypt", path, "--prefix", "app/", "--key", "B", "--key", "A", "--key", "REF")
    assert result.exit_code == Exit.REFUSED
    assert f"{path} has no plain value for: B, REF — check --key" in result.stderr


def test_a_line_that_cannot_be_encrypted_is_left_out_by_naming_the_others(run: Kofn, tmp_path: Path) -> None:
    path = put(tmp_path / "env", "A=1\nB=${A}\n")
    result = run("env", "encrypt", path)
    assert result.exit_code == Exit.REFUSED
    assert "name the other keys with --key" in result.stderr
    assert run("env", "encrypt", path, "--key", "A").exit_code == Exit.OK
    assert path.read_text() == "A=secret(A)\nB=${A}\n"


# writing files


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = put(tmp_path / "file", "old")

    def half() -> None:
        with files.replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    target, link = put(tmp_path / "target", "old"), tmp_path / "link"
    link.symlink_to(target)
    files.write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(Failure, match="no regular file"):
        files.write(Path("/dev/null"), "x")


# run


def test_a_command_sees_the_values(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=secret(db/password)\nB=\"<secret(api/key@1)>\"\nC='secret(api/key)'\nD=${A}!\n")
    result = start("--", sys.executable, "-c", "import os; print(*(os.environ[key] for key in 'ABCD'))")
    assert (result.returncode, result.stdout) == (0, "hunter2 <key-1> secret(api/key) hunter2!\n")


def test_a_reference_in_single_quotes_is_said_to_be_literal(start: Started, tmp_path: Path) -> None:
    path = put(tmp_path / "one", "\nA='secret(db/password)'\n")
    result = start("-f", path, "--", "sh", "-c", "echo $A")
    assert result.stdout == "secret(db/password)\n"
    assert result.stderr.startswith(f"kofn: {path}:2: in single quotes")


def test_all_files_are_resolved_in_one_call_and_later_ones_win(start: Started, gateway: FakeGateway, tmp_path: Path) -> None:
    one = put(tmp_path / "one", "A=secret(db/password)\nB=1")
    two = put(tmp_path / "two", "\ufeffB=secret(api/key)\nC=${A}\n")
    result = start("-f", one, "-f", two, "--", "sh", "-c", 'echo "$A $B $C"')
    assert result.stdout == "hunter2 key-2 hunter2\n"
    assert len(gateway.requests) == 1


def test_only_references_leave_this_machine(start: Started, gateway: FakeGateway, tmp_path: Path) -> None:
    put(tmp_path / ".env", "PLAIN=my-own-business\nA=secret(db/password)\n")
    start("--", "true")
    assert gateway.requests[0][3]["content"] == "R0=secret(db/password)"


def test_without_references_no_vault_is_needed(start: Started, gateway: FakeGateway, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=1\n")
    assert start("--", "sh", "-c", "echo $A", KOFN_URL="https://127.0.0.1:1").stdout == "1\n"


def test_inherited_variables_are_expanded_here_and_overridden(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=${OUTER}-secret(db/password)\nOUTER=inner\n")
    assert start("--", "sh", "-c", "echo $A $OUTER", OUTER="outer").stdout == "outer-hunter2 inner\n"


def test_one_bad_reference_starts_nothing_and_every_one_is_named(start: Started, tmp_path: Path) -> None:
    one = put(tmp_path / "one", "A=secret(absent)\nB=secret(db/password)\n")
    two = put(tmp_path / "two", '\nC="x secret(gone) y"\nD=secret(absent)\n')
    result = start("-f", one, "-f", two, "--", "touch", tmp_path / "started")
    assert result.returncode == RunExit.NOT_STARTED
    for line in (f"{one}:1: secret(absent)", f"{two}:2: secret(gone)", f"{two}:3: secret(absent)"):
        assert line in result.stderr
    assert f"{one}:2" not in result.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("content", ["A='unclosed", "A=enc(new, value)", "A=secret(../x)"])
def test_a_file_that_cannot_be_resolved_starts_nothing(start: Started, gateway: FakeGateway, tmp_path: Path, content: str) -> None:
    put(tmp_path / ".env", content)
    result = start("--", "touch", tmp_path / "started")
    assert result.returncode == RunExit.NOT_STARTED
    assert ".env:1" in result.stderr
    assert not (tmp_path / "started").exists()
    assert gateway.requests == []


def test_an_encryption_is_answered_with_the_command_that_writes_no_value(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=enc(new, value)")
    assert "kofn env process --no-expand -o FILE FILE" in start("--", "true").stderr


def test_without_a_file_the_option_for_one_is_named(start: Started) -> None:
    result = start("--", "true")
    assert result.returncode == RunExit.NOT_STARTED
    assert "-f FILE" in result.stderr


def test_every_failure_of_kofn_itself_exits_with_125(start: Started, gateway: FakeGateway, tmp_path: Path) -> None:
    assert start("-f", tmp_path / "absent", "--", "true").returncode == RunExit.NOT_STARTED
    put(tmp_path / ".env", "A=secret(db/password)")
    assert start("--no-such-option", "--", "true").returncode == RunExit.NOT_STARTED
    assert start().returncode == RunExit.NOT_STARTED
    assert start("--", "true", KOFN_TOKEN="wrong").returncode == RunExit.NOT_STARTED
    assert start("--", "true", KOFN_URL="https://127.0.0.1:1").returncode == RunExit.NOT_STARTED
    gateway.faults = [("status", "unavailable")]
    assert start("--", "true").returncode == RunExit.NOT_STARTED


def test_a_value_with_a_nul_byte_starts_nothing(start: Started, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.add("db/password", {"value": "a\0b"})
    put(tmp_path / ".env", "A=secret(db/password)")
    result = start("--", "true")
    assert result.returncode == RunExit.NOT_STARTED
    assert "A" in result.stderr


def test_a_command_that_is_not_found_or_not_executable_has_its_own_code(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=1")
    assert start("--", "no-such-command").returncode == RunExit.NOT_FOUND
    assert start("--", put(tmp_path / "plain", "text")).returncode == RunExit.NOT_EXECUTABLE


def test_the_exit_code_and_the_arguments_are_the_commands_own(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=1")
    assert start("--", "sh", "-c", "exit 42").returncode == 42
    assert start("printf", "%s", "--help").stdout == "--help"


def test_signals_reach_the_command_and_have_their_default_meaning(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=1")
    assert start("--", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    assert start("--", "sh", "-c", "kill -PIPE $$").returncode == -signal.SIGPIPE


def test_none_of_kofns_settings_is_passed_on_but_a_file_may_set_one(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=secret(db/password)\nKOFN_NAMESPACE=mine\n")
    shown = start("--", sys.executable, "-c", SHOW, KOFN_TOKEN_FILE="/token", OTHER="kept").stdout
    assert re.findall(r"KOFN_\w+", shown) == ["KOFN_NAMESPACE"]
    assert "kept" in shown


def test_a_pristine_environment_has_the_files_variables_and_little_else(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=secret(db/password)")
    shown = start("--pristine", "--", "env", OTHER="dropped", LC_ALL="C.UTF-8", TERM="dumb").stdout
    names = {line.partition("=")[0] for line in shown.splitlines()}
    assert {"A", "PATH", "TERM", "LC_ALL"} <= names
    assert names <= {"A", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR"} | {
        name for name in names if name.startswith("LC_")
    }


def test_no_value_stands_in_the_command_line(start: Started, tmp_path: Path) -> None:
    put(tmp_path / ".env", "A=secret(db/password)")
    shown = start("--", sys.executable, "-c", "print(open('/proc/self/cmdline').read())").stdout
    assert "hunter2" not in shown
