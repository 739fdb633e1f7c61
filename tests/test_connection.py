"""A client's connection, byte by byte: what is waited for, for how long, and what is said meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest

import gateway.connection
from gateway.connection import Connection
from gateway.crowd import Crowd
from gateway.received import Received

LARGEST_BODY = 1000


class Client:
    """A socket on which ``parts`` come; then nothing more does, or, ``for_ever``, the last of them again and again."""

    def __init__(self, *parts: bytes, for_ever: bool = False) -> None:
        self._parts = list(parts)
        self._for_ever = for_ever
        self.told = b""

    def recv(self, _: int) -> bytes:
        if self._for_ever and len(self._parts) == 1:
            return self._parts[0]
        return self._parts.pop(0) if self._parts else b""

    def send(self, data: bytes) -> int:
        self.told += data
        return len(data)

    def settimeout(self, _: float | None) -> None:
        pass


def connection(client: Client, largest_body: int = LARGEST_BODY) -> Connection:
    conn = Connection(SimpleNamespace(keepalive=5.0, limit_request_line=4094), client, None, Crowd(1), largest_body)
    conn.parser = SimpleNamespace(unreader=Received())
    return conn


def whole(*parts: bytes) -> tuple[bytes, Connection, Client]:
    """What the parser gets of a request that comes in ``parts``."""
    client = Client(*parts)
    conn = connection(client)
    conn.receive()
    return conn.parser.unreader.take_buffered(), conn, client


@pytest.mark.parametrize("length", [b"5", b"005", b" \t5\t "])
def test_a_body_is_waited_for(length: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length:" + length + b"\r\n\r\n"
    assert whole(head, b"he", b"llo")[0] == head + b"hello"


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        (b"Content-Length: 1000", False),
        (b"Content-Length: 1001", True),
        (b"Content-Length: 99999999999999999999", True),
        (b"Transfer-Encoding: chunked", True),
        (b"TRANSFER-ENCODING:chunked", True),
        (b"transfer-encoding : chunked", True),
        (b"Transfer-Encoding-X: a", False),
        (b"X-Transfer-Encoding: a", False),
    ],
)
def test_a_body_that_will_be_refused_is_not_waited_for(header: bytes, refused: bool) -> None:
    _, conn, _ = whole(b"POST / HTTP/1.1\r\n" + header + b"\r\n\r\n", b"x" * 1000)
    assert conn.body_refused is refused


def test_a_header_that_only_looks_like_the_encoding_keeps_no_body_from_being_waited_for() -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding-X: a\r\nContent-Length: 5\r\n\r\n"
    assert whole(head, b"hello")[0] == head + b"hello"


def test_a_length_of_very_many_digits_is_seen_through_at_once() -> None:
    """Searching it in quadratic time would take hours."""
    head = b"GET / HTTP/1.1\r\nContent-Length:" + b"0" * 3_000_000 + b"x\r\n\r\n"
    assert whole(head)[0] == head


@pytest.mark.parametrize(("version", "told"), [(b"1.1", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"1.0", b"")])
def test_who_waits_to_be_told_to_go_on_is_told_so_where_the_version_has_it(version: bytes, told: bytes) -> None:
    head = b"POST / HTTP/" + version + b"\r\nContent-Length: 5\r\n"
    data, _, client = whole(head + b"Expect: 100-continue\r\n\r\n", b"hello")
    assert data == head + b"\r\nhello"
    assert client.told == told


def test_a_request_that_comes_without_end_is_ended_by_the_deadline_and_others_have_their_turns_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway.connection, "REQUEST_SECONDS", 0.05)
    conn = connection(Client(b"POST / HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n", b"x", for_ever=True), largest_body=10**12)
    other = gevent.spawn(lambda: [gevent.sleep(0) for _ in range(10)])
    with pytest.raises(TimeoutError):
        conn.receive()
    assert other.ready()
