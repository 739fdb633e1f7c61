"""A client's connection: whole requests come in, answers go out in one piece, and everything has a deadline.

A client that sends nothing, or half of something, or does not take its answer, keeps waiting what costs nobody a thread: a greenlet, until
the deadline. How much is kept for all of them is ``gateway.crowd``'s to say.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import socket
import time
from typing import Any

import gevent
from gevent import socket as plain
from gevent.ssl import SSLSocket
from gunicorn.http import errors as http_errors
from gunicorn.http import get_parser
from gunicorn.sock import ssl_wrap_socket

from gateway.crowd import Crowd
from gateway.hardening import overwrite
from gateway.received import Received

HANDSHAKE_SECONDS = 5.0
REQUEST_SECONDS = 15.0
"""How long a client may take to send a whole request, and may stay silent after its handshake."""
ANSWER_SECONDS = 30.0
"""How long a client may take to receive an answer."""
PARTING_SECONDS = 2.0
"""How long a client has to close its side, so that it reads its last answer before a reset can destroy it (RFC 9112, section 9.6)."""
CONNECTION_SECONDS = 900.0
"""How long a connection is served. Then the client has to be let in anew, with a certificate, if it shows one, that is valid then."""
TURN_PARTS = 64
"""How many parts of a request, however small, are taken before others have their turn."""
HEAD_BYTES = 65_536
"""The longest request line with headers that is waited for."""

_PART_BYTES = 16_384  # a TLS record holds no more
_LENGTH_DIGITS = 18
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*(?=\r\n)", re.IGNORECASE)
_ENCODED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


class ClientSocket(SSLSocket):
    """A client's socket. gunicorn writes an answer in parts; they are kept, and leave together at ``flush``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.unsent = bytearray()

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Keep ``data`` for ``flush``."""
        del flags
        self.unsent += data

    def flush(self) -> None:
        """Send all that is kept. Raises OSError when the client has left, TimeoutError when it does not take it in time."""
        unsent, self.unsent = self.unsent, bytearray()
        self.settimeout(ANSWER_SECONDS)
        try:
            sent = self.send(unsent) if unsent else 0  # nearly always that is all
            if sent < len(unsent):
                with gevent.Timeout(ANSWER_SECONDS, TimeoutError):
                    super().sendall(memoryview(unsent)[sent:])
        finally:
            overwrite(unsent)


class Connection:
    """A connection with what has ``received`` of its next request.

    ``served`` tells whether it has ever had an answer. ``body_refused`` tells that the request's body is not waited for, because its
    length is too large or not known: after the answer, which needs no body, the connection must be closed.
    """

    def __init__(self, cfg: Any, sock: Any, client: Any, crowd: Crowd, largest_body: int) -> None:
        self.sock = sock
        self.client = client
        self.parser: Any = None
        self.received = bytearray()
        self.served = False
        self.body_refused = False
        self._cfg = cfg
        self._crowd = crowd
        self._largest_body = largest_body
        self._searched = 0
        self._whole_bytes: int | None = None
        self._opened = time.monotonic()

    @property
    def is_old(self) -> bool:
        """Whether the next answer must be the last."""
        return time.monotonic() - self._opened > CONNECTION_SECONDS

    def shake_hands(self) -> None:
        """The TLS handshake. Raises OSError."""
        with gevent.Timeout(HANDSHAKE_SECONDS, TimeoutError):
            self.sock = ssl_wrap_socket(self.sock, self._cfg)
            self.sock.do_handshake()
        self.parser = get_parser(self._cfg, self.sock, self.client)
        self.parser.unreader = Received()

    def receive(self) -> None:
        """Wait for the next request, until all of it is with the parser.

        Raises OSError when the client has left or takes too long, and ParseException for what cannot become a request.
        """
        self._crowd.wait(self)
        self.sock.settimeout(None)
        if not self.received:
            with gevent.Timeout(self._cfg.keepalive if self.served else REQUEST_SECONDS, TimeoutError):
                self._take()
        with gevent.Timeout(REQUEST_SECONDS, TimeoutError):
            for count in itertools.count(1):
                if self._is_whole():
                    break
                if count % TURN_PARTS == 0:
                    gevent.sleep(0)
                self._take()
        self._crowd.serve(self)
        self.parser.unreader.put(self.received)
        overwrite(self.received)
        self.received.clear()
        self._searched, self._whole_bytes = 0, None

    def send(self) -> None:
        """Send the answer, for which the request is no longer held. Raises OSError when the client does not take it."""
        self._crowd.wait(self)
        self._crowd.hold(self, len(self.sock.unsent))
        self.sock.flush()
        self.served = True

    def rest(self) -> None:
        """After an answer: what was read beyond the request begins the next one."""
        self.received += self.parser.unreader.take_buffered()
        self._crowd.hold(self, len(self.received))

    def part(self) -> None:
        """Say that no more will be sent, and wait for the client to close its side. What it still sends is thrown away."""
        self._crowd.wait(self)
        self._crowd.hold(self, 0)
        with contextlib.suppress(OSError), gevent.Timeout(PARTING_SECONDS, TimeoutError):
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(_PART_BYTES):
                gevent.sleep(0)

    def drop(self) -> None:
        """End it while a greenlet waits for the client: that one gets OSError. It closes the socket; who else did would pull it away."""
        with contextlib.suppress(OSError):
            plain.socket.shutdown(self.sock, socket.SHUT_RDWR)  # TLS says nothing more

    def close(self) -> None:
        self.sock.close()

    def _take(self) -> None:
        """Take what comes next."""
        part = self.sock.recv(_PART_BYTES)
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "the client has left")
        self.received += part
        self._crowd.hold(self, len(self.received))

    def _is_whole(self) -> bool:
        """Whether all of the next request is in ``received``, or as much as will be waited for."""
        if self._whole_bytes is None:
            end = self.received.find(b"\r\n\r\n", max(0, self._searched - 3))
            if end < 0:
                self._check_beginning()
                self._searched = len(self.received)
                return False
            self._whole_bytes = self._size(end + 4)
        return len(self.received) >= self._whole_bytes

    def _check_beginning(self) -> None:
        """Refuse a head that cannot end well, without waiting for its end."""
        if _BARE_LF.search(self.received, max(0, self._searched - 1)):
            raise http_errors.InvalidHeader("bare LF")
        if len(self.received) > HEAD_BYTES:
            raise http_errors.LimitRequestHeaders("the head is too long")
        if b"\r\n" not in self.received and len(self.received) > self._cfg.limit_request_line:
            raise http_errors.LimitRequestLine(len(self.received), self._cfg.limit_request_line)

    def _size(self, head_bytes: int) -> int:
        """How many bytes to wait for, when the head is that long. What is wrong with the head is for the parser to say."""
        head = bytes(self.received[:head_bytes])
        lengths = [length.lstrip(b"0") or b"0" for length in _LENGTH.findall(head)]
        too_large = any(len(length) > _LENGTH_DIGITS or int(length) > self._largest_body for length in lengths)
        self.body_refused = too_large or _ENCODED.search(head) is not None
        if self.body_refused or len(lengths) != 1:
            return head_bytes
        if expected := _EXPECT.search(head):
            if b" HTTP/1.0\r\n" not in head:  # RFC 9110, section 10.1.1
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            del self.received[expected.start() : expected.end()]
            head_bytes -= expected.end() - expected.start()
        return head_bytes + int(lengths[0])
