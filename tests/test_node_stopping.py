"""A node that is told to stop lets go of the connections that rest, and cuts off no request that is under way."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli import local_plan
from cli.local_plan import HOST, Layout

ROOT = Path(__file__).parent.parent
FOR_EVER_SECONDS = 600
WAITING_SECONDS = 60
CONFIGURATION = f"""\
import node.worker
node.worker.{{name}} = {FOR_EVER_SECONDS}
from node.gunicorn_conf import *
graceful_timeout = {FOR_EVER_SECONDS}
"""
ASK = b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n"
HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: node\r\nContent-Length: 10\r\n\r\n"


class Node:
    """A node's process alone, with the certificate of a peer to call it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, context: ssl.SSLContext) -> None:
        self.process = process
        self._port = port
        self._context = context

    def call(self) -> Caller:
        while True:
            try:
                return Caller(self._context, self._port)
            except ConnectionRefusedError:
                assert self.process.poll() is None
                time.sleep(0.05)


class Caller:
    """One connection to the node."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        plain = socket.create_connection((HOST, port), WAITING_SECONDS)
        self._socket = context.wrap_socket(plain, server_hostname=HOST)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, bool]:
        """The status of the next answer, and whether it is the last on this connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._part()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
        while len(body) < length:
            body += self._part()
        return int(lines[0].split()[1]), "connection: close" in lines

    def is_closed(self) -> bool:
        """Waits until the node closes the connection."""
        return self._socket.recv(1) == b""

    def _part(self) -> bytes:
        part = self._socket.recv(65536)
        assert part, "the connection was cut off"
        return part


@contextmanager
def serving(folder: Path, name: str) -> Iterator[Node]:
    """A node for which the setting ``name`` of its worker is for ever, and so is the time that gunicorn leaves it to stop."""
    layout, plan = Layout(folder / "cluster"), local_plan.new_plan(3, 2, 0)
    local_plan.complete(layout, plan)
    server, peer = layout.node("node-1"), layout.node("node-2").directory
    configuration = folder / "gunicorn_conf.py"
    configuration.write_text(CONFIGURATION.format(name=name))
    context = ssl.create_default_context(cafile=layout.authority.certificate_file)
    context.load_cert_chain(peer / "cert.pem", peer / "key.pem")
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", str(configuration), "node.wsgi:app"],
        env=os.environ | {"KOFN_NODE_CONFIG": str(server.configuration), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield Node(process, plan.node_ports["node-1"], context)
        finally:
            process.kill()


def test_a_thread_that_lingers_at_a_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, "LINGER_SECONDS") as node:
        callers = [node.call() for _ in range(3)]
        for caller in callers:
            caller.send(ASK)
            assert caller.answer() == (200, False)
        node.process.terminate()
        assert all(caller.is_closed() for caller in callers)
        assert node.process.wait(WAITING_SECONDS) == 0


def test_a_request_that_comes_while_the_node_stops_is_answered_as_the_last_one_and_none_is_cut_off(tmp_path: Path) -> None:
    with serving(tmp_path, "STOP_LINGER_SECONDS") as node:
        late, under_way = node.call(), node.call()
        for caller in (late, under_way):
            caller.send(ASK)
            assert caller.answer() == (200, False)
        under_way.send(HEAD + b"12345")
        node.process.terminate()
        last = False
        while not last:
            late.send(ASK)
            status, last = late.answer()
            assert status == 200
        assert late.is_closed()
        under_way.send(b"67890")
        status, last = under_way.answer()  # whether it says that it is the last depends on when its head was read
        assert status == 400
        while not last:
            under_way.send(ASK)
            status, last = under_way.answer()
            assert status == 200
        assert under_way.is_closed()
        assert node.process.wait(WAITING_SECONDS) == 0


def test_a_worker_whose_parent_is_gone_lets_go_of_what_rests_and_ends(tmp_path: Path) -> None:
    with serving(tmp_path, "LINGER_SECONDS") as node:
        callers = [node.call() for _ in range(3)]
        for caller in callers:
            caller.send(ASK)
            assert caller.answer() == (200, False)
        node.process.kill()  # gunicorn's master alone
        assert all(caller.is_closed() for caller in callers)
