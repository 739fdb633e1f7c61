"""The load generator: one thread, one epoll, as many kept-alive connections as there are clients, each with one request at a time.

The same generator drives the floor and the vault. It is lean because it shares the machine with them; ``Sample.generator_seconds`` says
what it took. Every answer is checked, status and content: one wrong answer ends the benchmark. Where faults are part of what is
measured, a 503 is an answer too, a refusal, and is counted.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, NoReturn

ANSWER_SECONDS = 30.0
_PART_BYTES = 32_768


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


class Answer(NamedTuple):
    """When a request was sent, in seconds since the run began, how long its answer took, and whether that was a refusal."""

    sent: float
    seconds: float
    refused: bool = False

    @property
    def received(self) -> float:
        """When it was complete, in seconds since the run began."""
        return self.sent + self.seconds


class Sample(NamedTuple):
    """What one run took: every answer, the time of it all, and the generator's own CPU time."""

    answers: Sequence[Answer]
    seconds: float
    generator_seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.answers) / self.seconds


class Event(NamedTuple):
    """Something to do ``at`` so many seconds after a run began."""

    at: float
    act: Callable[[], object]


class Shift(NamedTuple):
    """Clients that send one request after the other from ``begin`` until ``end``, in seconds after the run began."""

    clients: Sequence[Client]
    begin: float = 0.0
    end: float = float("inf")


def quantile_ms(answers: Sequence[Answer], share: float) -> float:
    """The latency that ``share`` of ``answers`` stay within, milliseconds. ``answers`` must not be empty."""
    ordered = sorted(answer.seconds for answer in answers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class Client:
    """One connection and the request that is under way on it. ``refusals``: whether a 503 is an answer."""

    def __init__(self, target: Target, requests: Iterator[Request], *, refusals: bool = False) -> None:
        plain = socket.create_connection((target.host, target.port), timeout=ANSWER_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = plain if target.context is None else target.context.wrap_socket(plain, server_hostname=target.host)
        self._requests = requests
        self._refusals = refusals
        self._received = bytearray()
        self._check: Callable[[int, bytes], bool] | None = None
        self._sent_at = 0.0
        self._greet(target)

    def _greet(self, target: Target) -> None:
        """One request that does not count: the handshake is over, and the server has seen this connection."""
        self.sock.sendall(f"GET {target.greeting} HTTP/1.1\r\nHost: {target.host}\r\n\r\n".encode())
        received = bytearray()
        while _split(received) is None:
            received += self.sock.recv(_PART_BYTES) or _closed()
        self.sock.setblocking(False)

    def send(self) -> bool:
        """Send the next request; False where there is none."""
        request = next(self._requests, None)
        if request is None:
            return False
        self._check = request.check
        self._sent_at = time.perf_counter()
        sent = self.sock.send(request.data)
        if sent < len(request.data):
            self.sock.settimeout(ANSWER_SECONDS)
            self.sock.sendall(request.data[sent:])
            self.sock.setblocking(False)
        return True

    def receive(self, begun: float) -> Answer | None:
        """Take what has come; what there is to say of the answer once it is complete and right. ``begun``: when the run began."""
        answer = None
        try:
            while answer is None:
                self._received += self.sock.recv(_PART_BYTES) or _closed()
                answer = _split(self._received)
        except (ssl.SSLWantReadError, BlockingIOError):
            return None
        seconds = time.perf_counter() - self._sent_at
        self._received.clear()
        refused = self._refusals and answer[0] == 503
        if not refused and (self._check is None or not self._check(*answer)):
            raise WrongAnswerError(f"a wrong answer, status {answer[0]}")
        return Answer(self._sent_at - begun, seconds, refused)


def connect(target: Target, requests: Sequence[Iterator[Request]], *, refusals: bool = False) -> list[Client]:
    """A connected client for each of ``requests``. Raises OSError."""
    clients: list[Client] = []
    try:
        for each in requests:
            clients.append(Client(target, each, refusals=refusals))
    except BaseException:
        _close(clients)
        raise
    return clients


def drive(shifts: Sequence[Shift], events: Sequence[Event] = ()) -> Sample:
    """Let each client send one request after the other, until its shift ends or it has none left, while ``events`` happen; then close all.

    Raises WrongAnswerError, or OSError where a connection fails or no answer comes.
    """
    try:
        return _Run(shifts, events).finish()
    finally:
        for shift in shifts:
            _close(shift.clients)


def run(target: Target, requests: Sequence[Iterator[Request]], seconds: float = float("inf")) -> Sample:
    """``connect`` and ``drive``, all in one shift."""
    return drive([Shift(connect(target, requests), end=seconds)])


class _Run:
    """One epoll over all clients, and what is to happen, by its time."""

    def __init__(self, shifts: Sequence[Shift], events: Sequence[Event]) -> None:
        self._ends = {client.sock.fileno(): (client, shift.end) for shift in shifts for client in shift.clients}
        beginnings = [Event(shift.begin, partial(self._begin, shift)) for shift in shifts]
        self._agenda = deque(sorted([*beginnings, *events], key=lambda event: event.at))
        self._busy = 0

    def _begin(self, shift: Shift) -> None:
        self._busy += sum(client.send() for client in shift.clients)

    def finish(self) -> Sample:
        """Run until nobody is busy and nothing is left to happen."""
        answers: list[Answer] = []
        with select.epoll() as poll:
            for descriptor in self._ends:
                poll.register(descriptor, select.EPOLLIN)
            cpu, begun = time.process_time(), time.perf_counter()
            while self._busy or self._agenda:
                now = time.perf_counter() - begun
                while self._agenda and self._agenda[0].at <= now:
                    self._agenda.popleft().act()
                events = poll.poll(self._agenda[0].at - now if self._agenda else ANSWER_SECONDS if self._busy else 0)
                if not events and self._busy and not self._agenda:
                    raise TimeoutError("no answer came")
                for descriptor, _ in events:
                    client, end = self._ends[descriptor]
                    answer = client.receive(begun)
                    if answer is None:
                        continue
                    answers.append(answer)
                    if answer.received >= end or not client.send():
                        self._busy -= 1
            return Sample(answers, time.perf_counter() - begun, time.process_time() - cpu)


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
