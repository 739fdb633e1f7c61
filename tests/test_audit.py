"""The audit log: every request leaves its lines, what cannot be recorded is not done, and ``kofn audit verify`` finds every damage."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from gateway_fakes import SECRET, TOKEN, FakeVault, make_settings
from werkzeug.test import EnvironBuilder, run_wsgi_app

import gateway.audit
import gateway.audit_files
from cli.main import kofn
from gateway.app import create_app
from gateway.audit import CHECK_SECONDS, AuditLog
from gateway.audit_files import AuditError
from model.errors import AuditUnavailable
from model.operation import Failed

ROOT = Path(__file__).parent.parent
WAITING_SECONDS = 30.0
"""A bound against waiting for ever."""
SECRETS = "/api/v1/secrets"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[AuditLog]:
    log = AuditLog(path, "gateway-1", 10**6)
    yield log
    log.close()


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def client(vault: FakeVault, tmp_path: Path) -> FlaskClient:
    return create_app(make_settings(tmp_path), vault).test_client()


def lines(*paths: Path) -> list[dict[str, Any]]:
    """What is in the files."""
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def answered(path: Path) -> list[dict[str, Any]]:
    """What is in the file once every request in it has its answer."""
    deadline = time.monotonic() + WAITING_SECONDS
    while True:
        found = lines(path)
        events = [line["event"] for line in found]
        if events.count("request") <= events.count("answer"):
            return found
        assert time.monotonic() < deadline, found[-1]
        time.sleep(0.02)


def wait_for_a_check() -> None:
    """Until the log looks again whether its file is where it belongs."""
    time.sleep(1.5 * CHECK_SECONDS)


def verify(*paths: Path) -> tuple[int, str]:
    """The exit code and output of ``kofn audit verify``."""
    result = CliRunner().invoke(kofn, ["audit", "verify", *map(str, paths)])
    return result.exit_code, result.output


def test_a_request_is_recorded_before_and_after(client: FlaskClient, path: Path) -> None:
    created = client.post(SECRETS, json={"name": "app/db", "value": "marker"}, headers=AUTH)
    _, request, answer = answered(path)
    told = {key: request[key] for key in ("event", "source", "principal", "credential", "namespace", "action", "uses", "gateway")}
    assert told == {
        "event": "request",
        "source": "127.0.0.1",
        "principal": "tester",
        "credential": "token:tester01",
        "namespace": "default",
        "action": f"POST {SECRETS}",
        "uses": {"create": ["app/db"]},
        "gateway": "gateway-1",
    }
    assert (answer["event"], answer["status"], answer["code"]) == ("answer", 201, None)
    assert request["request"] == answer["request"] == created.headers["X-Request-Id"]
    assert request["time"] <= answer["time"]
    assert verify(path)[0] == 0


def test_every_kind_of_request_says_what_it_is_for(client: FlaskClient, path: Path) -> None:
    client.post("/api/v1/env", json={"content": "A=enc(a, 1)\nB=enc(b, 2)\n"}, headers=AUTH)
    client.post("/api/v1/env", json={"content": "A=secret(a)secret(a@1)\nC=enc(c, 3)\n"}, headers=AUTH)
    client.post("/api/v1/batch/read", json={"names": ["b", "a"]}, headers=AUTH)
    client.get(f"{SECRETS}/a?version=1", headers=AUTH)
    client.put(f"{SECRETS}/a", json={"value": "x"}, headers=AUTH)
    client.get("/api/v1/history/a", headers=AUTH)
    client.delete(f"{SECRETS}/a", headers=AUTH)
    client.get(f"{SECRETS}?prefix=b", headers=AUTH)
    client.get("/api/v1/status", headers=AUTH)
    assert [line["uses"] for line in answered(path) if line["event"] == "request"] == [
        {"create": ["a", "b"]},
        {"read": ["a"], "create": ["c"]},
        {"read": ["b", "a"]},
        {"read": ["a"]},
        {"update": ["a"]},
        {"history": ["a"]},
        {"delete": ["a"]},
        {"list": ["b"]},
        {},
    ]
    assert {line["status"] for line in answered(path) if line["event"] == "answer"} <= {200, 204}


def test_what_is_turned_away_leaves_one_line(client: FlaskClient, vault: FakeVault, path: Path) -> None:
    client.get(f"{SECRETS}/a", headers={"Authorization": f"Bearer kofn_marker01_{SECRET}"})
    client.get(f"{SECRETS}/a", headers={**AUTH, "Kofn-Namespace": "other"})
    client.get(f"{SECRETS}/..", headers=AUTH)
    told = [(line["event"], line["status"], line["code"], line["principal"], line["uses"]) for line in answered(path)[1:]]
    assert told == [
        ("refusal", 401, "unauthenticated", None, {}),
        ("refusal", 403, "forbidden", "tester", {"read": ["a"]}),
        ("refusal", 400, "invalid_request", "tester", {}),
    ]
    assert vault.batches == []


def test_a_failure_is_recorded_with_its_code(client: FlaskClient, vault: FakeVault, path: Path) -> None:
    vault.failures = [Failed("writing_failed")]
    client.put(f"{SECRETS}/a", json={"value": "x"}, headers=AUTH)
    assert [(line["status"], line["code"]) for line in answered(path) if line["event"] == "answer"] == [(503, "writing_failed")]


def test_what_has_no_host_leaves_no_line(client: FlaskClient, path: Path) -> None:
    environ = EnvironBuilder(SECRETS, headers=AUTH).get_environ()
    del environ["HTTP_HOST"]
    assert run_wsgi_app(client.application, environ)[1].startswith("400 ")
    assert [line["event"] for line in lines(path)] == ["start"]


def test_health_metrics_and_unknown_routes_leave_no_line(client: FlaskClient, path: Path) -> None:
    for url in ("/healthz", "/readyz", "/metrics", "/nothing", "/api/v1/nothing"):
        client.get(url)
    assert [line["event"] for line in lines(path)] == ["start"]


def test_no_value_no_token_and_no_unknown_input_is_recorded(client: FlaskClient, path: Path) -> None:
    client.post(
        SECRETS, json={"name": "a", "value": "marker"}, headers={**AUTH, "User-Agent": "marker\x1b[31m", "Idempotency-Key": "marker"}
    )
    client.get(f"{SECRETS}/a%0d%0amarker?marker=marker", headers=AUTH)
    client.post("/api/v1/env", json={"content": "A=enc(b, marker)\n"}, headers=AUTH)
    client.get(f"{SECRETS}/a", headers={"Authorization": "Bearer marker"})
    client.get(SECRETS, headers={**AUTH, "Kofn-Namespace": "Marker"})
    recorded = path.read_text()
    assert "marker" not in recorded.lower()
    assert SECRET not in recorded
    assert "\x1b" not in recorded


# No audit, no request


def take_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace(path: Path) -> None:
    take_away(path)
    path.touch()


@pytest.mark.parametrize("mishap", [take_away, replace])
def test_a_request_that_cannot_be_recorded_is_refused_and_reaches_no_node(
    client: FlaskClient, vault: FakeVault, path: Path, mishap: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mishap(path)
    wait_for_a_check()
    for response in (
        client.post(SECRETS, json={"name": "a", "value": "v"}, headers=AUTH),
        client.get(f"{SECRETS}/a", headers=AUTH),
        client.get(f"{SECRETS}/a"),
        client.get("/api/v1/status", headers=AUTH),
        client.get("/readyz"),
    ):
        assert (response.status_code, response.json["code"], response.json["outcome"]) == (503, "audit_unavailable", "not_applied")
        assert response.headers["Retry-After"] == "1"
    assert vault.batches == []
    assert client.get("/healthz").status_code == 200
    assert caplog.text.count("cannot be written") == 1


def test_service_goes_on_by_itself_once_lines_can_be_written_again(client: FlaskClient, path: Path) -> None:
    take_away(path)
    wait_for_a_check()
    assert client.get(SECRETS, headers=AUTH).status_code == 503
    path.with_name("elsewhere").rename(path)
    assert client.get("/readyz").status_code == 200
    assert client.get(SECRETS, headers=AUTH).status_code == 200
    assert [line["event"] for line in answered(path)] == ["start", "resume", "request", "answer"]
    assert verify(path)[0] == 0


def test_an_answer_is_given_even_if_its_own_line_cannot_be_written(tmp_path: Path) -> None:
    class Mishap(FakeVault):
        def perform(self, operations: Any) -> Any:
            take_away(tmp_path / "audit.jsonl")
            wait_for_a_check()
            return super().perform(operations)

    client = create_app(make_settings(tmp_path), Mishap()).test_client()
    assert client.post(SECRETS, json={"name": "a", "value": "v"}, headers=AUTH).status_code == 201
    assert client.get(f"{SECRETS}/a", headers=AUTH).status_code == 503
    assert [line["event"] for line in lines(tmp_path / "elsewhere")] == ["start", "request"]


def test_what_waits_is_written_when_the_log_is_closed(path: Path) -> None:
    log = AuditLog(path, "gateway-1", 10**6)
    log.note({"event": "answer"})
    log.close()
    assert [line["event"] for line in lines(path)] == ["start", "answer"]
    assert verify(path)[0] == 0


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from gateway.audit import AuditLog
from model.errors import AuditUnavailable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
log = AuditLog(path, "gateway-1", 10**6)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
refused = 0
for number in range(20):
    try:
        log.write({"event": "request", "number": number})
    except AuditUnavailable:
        refused += 1
assert refused
assert path.read_bytes().endswith(b"}\\n") or path.stat().st_size == 2_000
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.write({"event": "request", "number": 99})
"""


def test_a_line_that_a_full_disk_cut_short_is_taken_back_before_the_next(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], cwd=ROOT, check=True, timeout=60)
    numbers = [line.get("number") for line in lines(path)]
    assert numbers == [None, *range(len(numbers) - 2), 99]
    assert verify(path)[0] == 0


def test_a_sync_for_which_there_is_no_file_number_is_made_up_for(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(number: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    def wait_for(seen: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAITING_SECONDS
        while not seen():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with monkeypatch.context() as crowded:
        crowded.setattr(os, "dup", fail)
        log.write({"event": "request"})
        wait_for(lambda: "cannot be synced for the moment (Too many open files)" in caplog.text)
        synced.clear()
    wait_for(lambda: synced)
    log.write({"event": "answer"})


def test_a_log_that_could_not_be_synced_is_not_written_to_again(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    log.write({"event": "request"})
    monkeypatch.setattr(os, "fdatasync", fail)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            log.write({"event": "request"})
        except AuditUnavailable:
            break
        time.sleep(0.05)
    monkeypatch.undo()
    time.sleep(0.1)
    with pytest.raises(AuditUnavailable):
        log.write({"event": "request"})


# The chain goes on


def test_many_threads_write_one_chain(log: AuditLog, path: Path) -> None:
    def write(number: int) -> None:
        for index in range(50):
            log.write({"event": "request", "request": f"{number}-{index}"})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    written = lines(path)
    assert {line["request"] for line in written[1:]} == {f"{number}-{index}" for number in range(16) for index in range(50)}
    for number in range(16):
        order = [line["request"] for line in written[1:] if line["request"].startswith(f"{number}-")]
        assert order == [f"{number}-{index}" for index in range(50)]
    assert verify(path)[0] == 0


def test_rotated_files_and_restarts_are_one_chain(path: Path) -> None:
    for number in range(3):
        log = AuditLog(path, "gateway-1", 1_000)
        for index in range(10):
            log.write({"event": "request", "request": f"{number}-{index}"})
        log.close()
    rotated = sorted(path.parent.glob("audit-*.jsonl"))
    assert len(rotated) > 3
    assert all(each.stat().st_size <= 1_000 for each in (*rotated, path))
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in (*rotated, path))
    files = [*rotated, path]
    random.Random(1).shuffle(files)
    code, output = verify(*files)
    assert (code, output.split(",")[0]) == (0, "intact: lines 1 to 33")
    assert [line["seq"] for line in lines(*rotated, path)] == list(range(1, 34))
    code, output = verify(*rotated[1:], path)
    assert code == 0
    assert "files that were not named" in output
    assert verify(rotated[0], *rotated[2:], path)[0] == 1


def test_a_rotation_never_takes_another_files_place(path: Path) -> None:
    log = AuditLog(path, "gateway-1", 600)
    taken = path.with_name(f"audit-{2:015}.jsonl")
    taken.write_text("somebody else's")
    log.write({"event": "request"})
    with pytest.raises(AuditUnavailable):
        log.write({"event": "request", "request": "x" * 300})
    assert taken.read_text() == "somebody else's"
    taken.unlink()
    log.write({"event": "request"})
    log.close()
    assert verify(*path.parent.glob("audit*.jsonl"))[0] == 0


def test_a_rotation_that_a_crash_interrupted_is_finished(path: Path) -> None:
    log = AuditLog(path, "gateway-1", 10**6)
    log.write({"event": "request"})
    log.close()
    os.link(path, path.with_name(f"audit-{2:015}.jsonl"))
    log = AuditLog(path, "gateway-1", 10**6)
    log.close()
    assert [line["seq"] for line in lines(path)] == [3]
    assert verify(path, path.with_name(f"audit-{2:015}.jsonl"))[0] == 0


@pytest.mark.parametrize("torn", [b'{"seq":3,"prev"', b"x"])
def test_a_line_that_a_crash_cut_short_is_cut_off_and_that_is_recorded(path: Path, torn: bytes) -> None:
    log = AuditLog(path, "gateway-1", 10**6)
    log.write({"event": "request"})
    log.close()
    with path.open("ab") as file:
        file.write(torn)
    AuditLog(path, "gateway-1", 10**6).close()
    assert [(line["event"], line.get("cut_bytes")) for line in lines(path)] == [("start", 0), ("request", None), ("start", len(torn))]
    assert verify(path)[0] == 0


def test_a_log_whose_last_line_is_damaged_is_not_written_to(path: Path) -> None:
    AuditLog(path, "gateway-1", 10**6).close()
    before = path.read_bytes().replace(b"gateway-1", b"gateway-2")
    path.write_bytes(before)
    with pytest.raises(AuditError, match="line 1 was changed"):
        AuditLog(path, "gateway-1", 10**6)
    assert path.read_bytes() == before


def test_two_processes_never_write_one_log(log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.audit_files, "LOCK_SECONDS", 0.2)
    with pytest.raises(AuditError, match="another process"):
        AuditLog(path, "gateway-1", 10**6)


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from gateway.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), "gateway-1", 5_000)
def write(number):
    for index in range(10**6):
        log.write({"event": "request", "request": f"{number}-{index}"})
        os.write(1, f"{number}-{index}\\n".encode())
for number in range(8):
    threading.Thread(target=write, args=(number,), daemon=True).start()
time.sleep(60)
"""


def test_whatever_was_written_before_a_kill_is_in_the_chain(path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(300)]
        process.kill()
        acknowledged += process.stdout.read().splitlines(keepends=True)
    AuditLog(path, "gateway-1", 5_000).close()
    files = list(path.parent.glob("audit*.jsonl"))
    assert verify(*files)[0] == 0
    recorded = {line["request"] for line in lines(*files) if line["event"] == "request"}
    assert {line.decode().strip() for line in acknowledged if line.endswith(b"\n")} <= recorded


# kofn audit verify


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace(b'"status":200', b'"status":404', 1),
        lambda content: b"".join(content.splitlines(keepends=True)[:1] + content.splitlines(keepends=True)[2:]),
        lambda content: content + content.splitlines(keepends=True)[-1],
        lambda content: content[:-1],
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\n" + content,
        lambda content: b"",
    ],
    ids=["changed", "missing", "doubled", "cut", "line ends", "empty line", "empty"],
)
def test_damage_is_found(client: FlaskClient, path: Path, damage: Any) -> None:
    for _ in range(3):
        client.get(SECRETS, headers=AUTH)
    answered(path)
    assert verify(path)[0] == 0
    copy = path.with_name("copy")
    copy.write_bytes(damage(path.read_bytes()))
    code, output = verify(copy)
    assert code in {1, 2}
    assert str(copy) in output


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    assert verify(tmp_path / "none")[0] == 2


def test_the_verifier_stands_alone() -> None:
    code = "import sys, cli.audit_commands; print([name for name in sys.modules if name.split('.')[0] in {'gateway', 'flask', 'gunicorn'}])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert found == "[]\n"


def test_an_idle_log_keeps_no_thread_busy_and_lets_go_of_its_file(path: Path) -> None:
    before = set(threading.enumerate())
    log = AuditLog(path, "gateway-1", 10**6)
    begun = set(threading.enumerate()) - before
    assert len(begun) == 1
    log.close()
    assert not any(thread.is_alive() for thread in begun)
    AuditLog(path, "gateway-1", 10**6).close()
