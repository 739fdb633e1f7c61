"""The load generator: one thread, one epoll, as many kept-alive connections as there are clients, each with one request at a time.

The same generator drives the floor and the vault. It is lean because it shares the machine with them; ``Sample.generator_seconds`` says
what it took. Every answer is checked, status and content: one wrong answer ends the benchmark.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn

ANSWER_SECONDS = 30.0


class WrongAnswerError(Exception):
    """An answer had another status or content than it must have; the text has the status only."""


class Request(NamedTuple):
    """One HTTP request as bytes, and what is a right answer to it: ``check(status, body)``."""

    data: bytes
    check: Callable[[int, bytes], bool]


class Target(NamedTuple):
    """Where to send requests; without ``context`` in plain HTTP. ``greeting`` is the path of a cheap route that answers 200."""

    host: str
    port: int
    greeting: str
    context: ssl.SSLContext | None = None


class Sample(NamedTuple):
    """What one run took: ``latencies`` in seconds, one for each request, and the generator's own CPU time."""

    latencies: Sequence[float]
    seconds: float
    generator_seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """The latency that ``share`` of the requests stay within, milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class Client:
    """One connection and the request that is under way on it."""

    def __init__(self, target: Target, requests: Iterator[Request]) -> None:
        plain = socket.create_connection((target.host, target.port), timeout=ANSWER_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = plain if target.context is None else target.context.wrap_socket(plain, server_hostname=target.host)
        self._requests = requests
        self._received = bytearray()
        self._check: Callable[[int, bytes], bool] | None = None
        self._sent_at = 0.0
        self._greet(target)

    def _greet(self, target: Target) -> None:
        """One request that does not count: the handshake is over, and the server has seen this connection."""
        self.sock.sendall(f"GET {target.greeting} HTTP/1.1\r\nHost: {target.host}\r\n\r\n".encode())
        received = bytearray()
        while _split(received) is None:
            received += self.sock.recv(65_536) or _closed()

    def send(self) -> bool:
        """Send the next request; False where there is none."""
        request = next(self._requests, None)
        if request is None:
            return False
        self._check = request.check
        self.sock.settimeout(ANSWER_SECONDS)
        self._sent_at = time.perf_counter()
        self.sock.sendall(request.data)
        self.sock.setblocking(False)
        return True

    def receive(self) -> float | None:
        """Take what has come; the request's latency in seconds once its answer is complete and right."""
        try:
            while True:
                self._received += self.sock.recv(262_144) or _closed()
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        answer = _split(self._received)
        if answer is None:
            return None
        latency = time.perf_counter() - self._sent_at
        self._received.clear()
        if self._check is None or not self._check(*answer):
            raise WrongAnswerError(f"a wrong answer, status {answer[0]}")
        return latency


def connect(target: Target, requests: Sequence[Iterator[Request]]) -> list[Client]:
    """A connected client for each of ``requests``. Raises OSError."""
    clients: list[Client] = []
    try:
        for each in requests:
            clients.append(Client(target, each))
    except BaseException:
        _close(clients)
        raise
    return clients


def drive(clients: Sequence[Client], seconds: float) -> Sample:
    """Let each client send one request after the other, until ``seconds`` have passed or it has none left; then close all.

    Raises WrongAnswerError, or OSError where a connection fails.
    """
    latencies: list[float] = []
    try:
        poll = select.epoll()
        by_descriptor = {client.sock.fileno(): client for client in clients}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        cpu, begun = time.process_time(), time.perf_counter()
        busy = sum(client.send() for client in clients)
        while busy:
            events = poll.poll(ANSWER_SECONDS)
            if not events:
                raise TimeoutError("no answer came")
            for descriptor, _ in events:
                client = by_descriptor[descriptor]
                latency = client.receive()
                if latency is None:
                    continue
                latencies.append(latency)
                if time.perf_counter() - begun >= seconds or not client.send():
                    busy -= 1
        return Sample(latencies, time.perf_counter() - begun, time.process_time() - cpu)
    finally:
        _close(clients)


def run(target: Target, requests: Sequence[Iterator[Request]], seconds: float = float("inf")) -> Sample:
    """``connect`` and ``drive``."""
    return drive(connect(target, requests), seconds)


def _close(clients: Sequence[Client]) -> None:
    for client in clients:
        client.sock.close()


def _closed() -> NoReturn:
    raise ConnectionError("the server closed a connection under way")


def _split(received: bytearray) -> tuple[int, bytes] | None:
    """Status and body of a complete answer, else None."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    place = head.find(b"\r\ncontent-length:")
    size = int(head[place + 17 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
    if len(received) < end + 4 + size:
        return None
    return int(head[9:12]), bytes(received[end + 4 :])
