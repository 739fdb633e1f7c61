"""What protects the processes: their memory, and a gateway among thousands of silent, slow and greedy clients."""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gateway_fakes import TOKEN
from test_gateway_process import Gateway, receive

from node.flight import Flight

ROOT = Path(__file__).parent.parent
AUTH = f"Authorization: Bearer {TOKEN}\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
PROMPT_SECONDS = 3.0
"""Less than any deadline that a slow client could use up, on a busy machine."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with room for 1,500 clients."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), connections=1_500)
    try:
        gateway.wait()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Descriptors for a thousand clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_000, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def serves_promptly(gateway: Gateway, times: int = 5) -> None:
    """New clients are served at once."""
    for _ in range(times):
        began = time.monotonic()
        assert gateway.ask(f"GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n")[0] == 200
        assert time.monotonic() - began < PROMPT_SECONDS


def tcp(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=10)


def half_shaken(gateway: Gateway) -> socket.socket:
    """A connection that has sent the first byte of a handshake."""
    connection = tcp(gateway)
    connection.sendall(b"\x16")
    return connection


def sent(gateway: Gateway, data: bytes) -> ssl.SSLSocket:
    """A TLS connection on which ``data`` was sent."""
    connection = gateway.connect()
    connection.sendall(data)
    return connection


def deaf(gateway: Gateway) -> ssl.SSLSocket:
    """A connection on which as much is asked as can be sent, and no answer read."""
    connection = gateway.connect()
    connection.settimeout(0.3)
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(HEALTH * 500)
    return connection


POST = f"POST /api/v1/secrets HTTP/1.1\r\nHost: a\r\n{AUTH}Content-Type: application/json\r\n".encode()
IDLERS = {
    "silent before TLS": tcp,
    "one byte of TLS": half_shaken,
    "silent after TLS": lambda gateway: sent(gateway, b""),
    "half a request line": lambda gateway: sent(gateway, b"GET /he"),
    "half a header": lambda gateway: sent(gateway, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Ma"),
    "no body": lambda gateway: sent(gateway, POST + b"Content-Length: 9000\r\n\r\n"),
    "half a body": lambda gateway: sent(gateway, POST + b"Content-Length: 9000\r\n\r\n" + b" " * 4000),
    "a body far too large": lambda gateway: sent(gateway, POST + b"Content-Length: 1073741824\r\n\r\n" + b" " * 4000),
    "a refused chunked body": lambda gateway: sent(gateway, POST + b"Transfer-Encoding: chunked\r\n\r\n"),
    "answered and not closed": lambda gateway: sent(gateway, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
    "answered and not read": deaf,
    "answered and kept": lambda gateway: sent(gateway, HEALTH),
}


@pytest.mark.parametrize("kind", IDLERS)
def test_more_idle_clients_than_threads_hinder_nobody(gateway: Gateway, kind: str) -> None:
    with contextlib.ExitStack() as idle:
        for _ in range(12):
            idle.enter_context(IDLERS[kind](gateway))
        serves_promptly(gateway)


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("kind", ["silent before TLS", "silent after TLS"])
def test_a_thousand_idle_clients_hinder_nobody(gateway: Gateway, kind: str) -> None:
    with contextlib.ExitStack() as idle:
        for _ in range(1_000):
            idle.enter_context(IDLERS[kind](gateway))
        serves_promptly(gateway)


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
def test_beyond_its_room_the_gateway_lets_go_of_the_idle_and_serves_the_new(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, connections=50)
    try:
        gateway.wait()
        with contextlib.ExitStack() as idle:
            kept = idle.enter_context(sent(gateway, HEALTH))
            assert receive(kept)[0] == 200
            silent = [idle.enter_context(tcp(gateway)) for _ in range(200)]
            serves_promptly(gateway)
            kept.sendall(HEALTH)
            assert receive(kept)[0] == 200, "who was served before is let go of last"
            silent[0].settimeout(1)
            with contextlib.suppress(ConnectionResetError):
                assert silent[0].recv(1) == b""
    finally:
        gateway.stop()


@pytest.mark.slow
def test_clients_that_hoard_unfinished_bodies_do_not_keep_others_from_sending_theirs(gateway: Gateway) -> None:
    size = 8_388_608
    head = f"POST /api/v1/secrets HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode()
    hoarders = [sent(gateway, head + b" " * (size - 1 - len(head))) for _ in range(8)]  # all the room there is, but for a few bytes
    try:
        for _ in range(3):
            with gateway.connect() as connection:
                body = b'{"name": "no json'
                connection.sendall(POST + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
                time.sleep(0.2)
                connection.sendall(body)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 400")
    finally:
        for hoarder in hoarders:
            hoarder.close()


def test_an_idle_client_is_disconnected_at_its_deadline(gateway: Gateway) -> None:
    kinds = {"silent before TLS": 5, "one byte of TLS": 5, "silent after TLS": 15, "half a header": 15, "half a body": 15}
    with contextlib.ExitStack() as idle:
        began = time.monotonic()
        clients = {kind: idle.enter_context(IDLERS[kind](gateway)) for kind in kinds}
        for kind, seconds in kinds.items():
            clients[kind].settimeout(seconds + 10)
            with contextlib.suppress(ConnectionResetError):
                assert clients[kind].recv(1) == b"", kind
            assert seconds - 1.5 < time.monotonic() - began < seconds + 10, kind


@pytest.mark.slow
def test_a_client_that_drips_gains_no_time(gateway: Gateway) -> None:
    began = time.monotonic()
    with gateway.connect() as connection, contextlib.suppress(OSError):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        while time.monotonic() - began < 30:
            connection.sendall(b"a")
            time.sleep(0.05)
    assert 14 < time.monotonic() - began < 25


def test_a_request_may_come_in_any_pieces(gateway: Gateway) -> None:
    body = json.dumps({"name": "in/pieces", "value": "v"}).encode()
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with gateway.connect() as connection:
        for place in range(len(request)):
            connection.sendall(request[place : place + 1])
        assert receive(connection)[0] == 201
    with gateway.connect() as connection:
        connection.sendall(request[:40])
        time.sleep(0.2)
        connection.sendall(request[40:-3])
        time.sleep(0.2)
        connection.sendall(request[-3:])
        assert receive(connection)[0] == 409


def test_requests_sent_at_once_are_answered_one_after_the_other(gateway: Gateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(HEALTH * 3 + HEALTH[:20])
        data = b""
        while data.count(b"HTTP/1.1 200") < 3:
            data += connection.recv(65_536)
        connection.sendall(HEALTH[20:])
        assert receive(connection)[0] == 200


def test_a_large_body_arrives_whole(gateway: Gateway) -> None:
    content = "# " + "x" * 200_000 + "\nA=1\n"
    body = json.dumps({"content": content}).encode()
    head = POST.replace(b"/secrets", b"/env") + b"Content-Length: %d\r\n\r\n" % len(body)
    status, answer = gateway.ask(head + body)
    assert (status, answer["content"]) == (200, content)
    huge = b'{"content": "' + b" " * 8_500_000 + b'"}'
    assert gateway.ask(POST.replace(b"/secrets", b"/env") + b"Content-Length: %d\r\n\r\n" % len(huge) + huge)[0] == 413


def test_a_client_that_waits_to_be_told_to_go_on_is_told(gateway: Gateway) -> None:
    body = b'{"content": "A=1"}'
    head = POST.replace(b"/secrets", b"/env") + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body)
    with gateway.connect() as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert receive(connection)[0] == 200


def test_a_bare_line_feed_is_refused_at_once(gateway: Gateway) -> None:
    assert gateway.ask(b"GET /healthz HTTP/1.1\nHost: a\n\n")[0] == 400
    assert gateway.ask(b"GET /healthz HTTP/1.1\r\nHost: a\nX: b\r\n\r\n")[0] == 400


def test_an_endless_request_is_refused_without_its_end(gateway: Gateway) -> None:
    assert gateway.ask(b"GET /" + b"a" * 5_000)[0] == 414
    assert gateway.ask(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 12_000)[0] == 431


def test_an_error_that_the_parser_finds_has_the_security_headers(gateway: Gateway) -> None:
    with sent(gateway, b"marker\r\n\r\n") as connection:
        head = connection.recv(65_536).partition(b"\r\n\r\n")[0].decode()
    for name in ("X-Content-Type-Options", "Content-Security-Policy", "Strict-Transport-Security", "Cache-Control", "X-Request-Id"):
        assert f"\r\n{name}: " in head


def test_a_stopping_gateway_finishes_what_it_has_begun(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, connections=100)
    try:
        gateway.wait()
        request = f"GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n".encode()
        with sent(gateway, request[:-2]) as begun, tcp(gateway):
            time.sleep(0.2)
            gateway.process.terminate()
            time.sleep(0.5)
            begun.sendall(request[-2:])
            assert receive(begun)[0] == 200
        gateway.process.wait(15)
        events = [json.loads(line)["event"] for line in (tmp_path / "audit.jsonl").read_bytes().splitlines()]
        assert events == ["start", "request", "answer"]
    finally:
        gateway.stop()


# The process


def worker_of(gateway: Gateway) -> int:
    pid = gateway.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_a_gateways_processes_leave_no_core_dumps(gateway: Gateway) -> None:
    for pid in (gateway.process.pid, worker_of(gateway)):
        core = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]


CHECK = """
import ctypes, resource
from {package}.hardening import close_to_others, keep_out_of_swap
resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],) * 2)
close_to_others()
keep_out_of_swap()
locked = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck")][0]
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE), locked != "0")
"""


@pytest.mark.parametrize("package", ["gateway", "node"])
def test_a_process_cannot_be_traced_or_dumped_and_is_out_of_the_swap_or_says_that_it_is_not(package: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CHECK.format(package=package)], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    dumpable, cores, locked = result.stdout.split(maxsplit=1)[0], result.stdout.split("(")[1].split(")")[0], result.stdout.split()[-1]
    assert (dumpable, cores) == ("0", "0, 0")
    assert (locked == "True") != ("memory cannot be locked" in result.stderr)


READ = "import os, sys; os.setresuid(65534, 65534, 65534) if os.geteuid() == 0 else None; open(f'/proc/{sys.argv[1]}/mem', 'rb')"


def test_the_gateways_processes_belong_to_root_alone_where_memory_is_read(gateway: Gateway) -> None:
    """The kernel gives /proc/PID of a process that is not dumpable to root, whoever runs it (proc(5))."""
    for pid in (gateway.process.pid, worker_of(gateway)):
        assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
        result = subprocess.run([sys.executable, "-c", READ, str(pid)], capture_output=True, text=True, check=False, timeout=60)
        assert "PermissionError" in result.stderr


def test_gateway_and_node_are_hardened_alike() -> None:
    ours, theirs = ((ROOT / package / "hardening.py").read_text() for package in ("gateway", "node"))
    assert ours.replace("``node/hardening.py``", "``gateway/hardening.py``") == theirs


@pytest.mark.parametrize("package", ["gateway", "node"])
def test_a_buffer_that_is_overwritten_holds_nothing_of_what_it_held(package: str) -> None:
    buffer = bytearray(b"correct horse")
    importlib.import_module(f"{package}.hardening").overwrite(buffer)
    assert buffer == bytes(13)


def test_what_came_for_a_peer_is_overwritten_once_it_is_read() -> None:
    near, far = socket.socketpair()
    with near, far:
        connection: Any = SimpleNamespace(socket=near, host="peer")
        flight = Flight(connection, "/", b"", 0.0, 100)
        far.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + b"sshares")
        answer = flight.advance()
        assert answer is not None
        assert answer.body == b"sshares"
        assert not any(flight._received)
