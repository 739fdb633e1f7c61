"""A node's port with callers that stop half-way or drip: each is disconnected at its deadline, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from cli import local_plan, processes
from cli.local_plan import HOST, Layout
from node.worker import LINGER_SECONDS

DRIP_SECONDS = 0.2
EACH = 3
"""How many callers of each kind there are: all together fewer than the node has threads."""
CROWD = 64
"""More than it has threads."""
PROMPT_SECONDS = 5.0
"""How long a request may take that nobody is in the way of."""
WAITING_SECONDS = 30.0
"""How long at most a test waits for an end that is due after 3 or 10 s."""
HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: node\r\nContent-Type: application/msgpack\r\nContent-Length: 100000\r\n"


class Node:
    """One node's process alone; its peers do not run."""

    def __init__(self, folder: Path) -> None:
        layout, plan = Layout(folder), local_plan.new_plan(3, 2, 0)
        folder.mkdir(mode=0o700)
        local_plan.complete(layout, plan)
        self.server = layout.node("node-1")
        self._port = plan.node_ports["node-1"]
        peer = layout.node("node-2").directory
        self._context = ssl.create_default_context(cafile=layout.authority.certificate_file)
        self._context.load_cert_chain(peer / "cert.pem", peer / "key.pem")
        processes.spawn(self.server)

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + WAITING_SECONDS
        while True:
            try:
                return self.check()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, self.server.log.read_text()
                time.sleep(0.05)

    def check(self) -> None:
        """One request on a new connection."""
        connection = http.client.HTTPSConnection(HOST, self._port, context=self._context, timeout=PROMPT_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200

    def tcp(self) -> socket.socket:
        return socket.create_connection((HOST, self._port), timeout=WAITING_SECONDS)

    def tls(self) -> ssl.SSLSocket:
        """A connection with the certificate of a peer."""
        return self._context.wrap_socket(self.tcp(), server_hostname=HOST)

    def half_shaken(self) -> socket.socket:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            self._context.wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
        hello = outgoing.read()
        connection = self.tcp()
        connection.sendall(hello[: len(hello) // 2])
        return connection

    def sent(self, data: bytes) -> ssl.SSLSocket:
        connection = self.tls()
        connection.sendall(data)
        return connection

    def served_once(self, data: bytes) -> ssl.SSLSocket:
        """A connection on which ``data`` is sent after a whole request and its answer."""
        connection = self.sent(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += connection.recv(65536)
        connection.sendall(data)
        return connection

    def dripping(self, data: bytes) -> Dripping:
        """A caller who sends ``data``, and then ``x`` after ``x``."""
        return Dripping(self.sent(data))


class Caller(Protocol):
    """Somebody with a connection to the node."""

    def recv(self, size: int, /) -> bytes:
        """What the node sends next; nothing when it has closed the connection. Raises OSError, TimeoutError when it does neither."""

    def close(self) -> None:
        """Leave."""


class Dripping:
    """A caller whose connection belongs to a thread of its own: two threads must never use one at a time."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._drip)
        self._thread.start()

    def recv(self, size: int, /) -> bytes:
        self._thread.join(WAITING_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError
        return b""

    def close(self) -> None:
        self._leaving.set()
        self._thread.join()

    def _drip(self) -> None:
        self._connection.settimeout(DRIP_SECONDS)
        with self._connection, contextlib.suppress(OSError):
            while not self._leaving.is_set():
                self._connection.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if not self._connection.recv(65536):
                        return


KINDS: dict[str, Callable[[Node], Caller]] = {
    "silent": Node.tcp,
    "half a handshake": Node.half_shaken,
    "silent after the handshake": Node.tls,
    "half a head": lambda node: node.sent(HEAD),
    "a dripping head": lambda node: node.dripping(HEAD + b"X-Slow: "),
    "half a body": lambda node: node.sent(HEAD + b"\r\n" + b"x" * 1000),
    "a dripping body": lambda node: node.dripping(HEAD + b"\r\n"),
    "half a later request": lambda node: node.served_once(HEAD),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("deadlines") / "cluster")
    try:
        node.wait()
        yield node
    finally:
        processes.kill(node.server)


@pytest.fixture(scope="module")
def callers(node: Node) -> Iterator[dict[str, list[Caller]]]:
    """All of them at once, so that they are waited for together."""
    callers = {kind: [open_one(node) for _ in range(EACH)] for kind, open_one in KINDS.items()}
    yield callers
    for connections in callers.values():
        for connection in connections:
            connection.close()


@pytest.mark.usefixtures("callers")
def test_others_are_served_while_callers_stop_half_way(node: Node) -> None:
    for _ in range(20):
        node.check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_caller_that_stops_half_way_or_drips_is_disconnected(callers: dict[str, list[Caller]], kind: str) -> None:
    for connection in callers[kind]:
        assert ended(connection), kind


@pytest.mark.slow
def test_callers_that_stay_when_they_were_disconnected_hinder_nobody(node: Node) -> None:
    staying = [node.half_shaken() for _ in range(10)]
    assert ended(staying[0])
    node.check()
    for connection in staying:
        connection.close()


@pytest.mark.slow
def test_strangers_at_the_door_hinder_nobody(node: Node) -> None:
    known = [node.served_once(b"") for _ in range(4)]
    time.sleep(LINGER_SECONDS + 0.5)  # now no thread waits for them
    strangers = [open_one() for open_one in (node.tcp, node.half_shaken) for _ in range(CROWD)]
    for connection in known:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
    node.check()
    assert not select.select(strangers[-1:], [], [], 0)[0], "all this while the last of them was not turned away"
    assert ended(strangers[-1])
    node.check()
    for each in (*known, *strangers):
        each.close()


@pytest.mark.usefixtures("callers")
def test_afterwards_the_node_serves_and_its_log_holds_nothing_that_they_sent(node: Node) -> None:
    node.check()
    log = node.server.log.read_text()
    assert "Traceback" not in log
    assert "xxx" not in log


def ended(connection: Caller) -> bool:
    """Whether the other side closes the connection, perhaps with an answer, in the time that its own timeout gives."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
