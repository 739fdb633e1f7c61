"""A client's connection between the poller and the threads: what has arrived is kept until a whole request is there.

Nothing here waits. A handshake or a request that is not complete keeps its place, and its deadline, until more comes.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import ssl
import threading
import time
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.http import get_parser
from gunicorn.sock import ssl_wrap_socket
from gunicorn.workers.gthread import TConn

HANDSHAKE_SECONDS = 5.0
REQUEST_SECONDS = 15.0
"""How long a client may take to send a whole request, and may stay silent after its handshake."""
ANSWER_SECONDS = 30.0
"""How long a client may take to receive an answer, or the part of one that is sent at a time."""
PARTING_SECONDS = 2.0
"""How long a client has to close its side, so that it reads its last answer before a reset can destroy it (RFC 9112, section 9.6)."""
HEAD_BYTES = 65_536
"""The longest request line with headers that is waited for."""

_PART_BYTES = 65_536
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


class ClientSocket(ssl.SSLSocket):
    """The socket of a connection. An answer that is not taken in time ends like a reset."""

    patience = threading.BoundedSemaphore()
    """How many threads may wait for clients that are slow to take their answers, all sockets together. The worker sets it."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of ``data``. Who does not take it at once is waited for if a thread can be spared, and for ANSWER_SECONDS in all."""
        rest = memoryview(data).cast("B")
        self.setblocking(False)
        try:
            while rest:
                rest = rest[self.send(rest, flags) :]
        except ssl.SSLWantWriteError:
            if not self.patience.acquire(blocking=False):
                raise ConnectionResetError(errno.ECONNRESET, "too many clients are slow to take their answers") from None
            try:
                self._send_slowly(rest, flags)
            finally:
                self.patience.release()

    def _send_slowly(self, rest: memoryview, flags: int) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            while rest:
                self.settimeout(max(deadline - time.monotonic(), 0.001))
                rest = rest[self.send(rest, flags) :]
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the answer was not taken in time") from None


class Connection(TConn):
    """A connection with what has ``received`` of its next request, until its ``deadline`` (monotonic).

    ``served`` tells whether it has ever had an answer. ``body_refused`` tells that the request's body is not waited for, because its
    length is too large or not known: after the answer, which needs no body, the connection must be closed.
    """

    sock: Any

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any, largest_body: int) -> None:
        super().__init__(cfg, sock, client, server)
        self.deadline = time.monotonic() + HANDSHAKE_SECONDS
        self.received = bytearray()
        self.served = False
        self.body_refused = False
        self._largest_body = largest_body
        self._shaken = False
        self._parting = False
        self._searched = 0
        self._whole_bytes: int | None = None

    def advance(self) -> bool:
        """Take what has come; whether a whole request is there now, and with the parser.

        Raises OSError when the client has left or its handshake failed, and ParseException for what cannot become a request.
        """
        self.sock.setblocking(False)
        try:
            if not self._shaken:
                self._shake_hands()
            while not self._is_whole():
                part = self.sock.recv(_PART_BYTES)
                if not part:
                    raise ConnectionResetError(errno.ECONNRESET, "the client has left")
                if not self.received:
                    self.deadline = time.monotonic() + REQUEST_SECONDS
                self.received += part
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        self.parser.unreader.unread(bytes(self.received))
        self.received.clear()
        self._searched, self._whole_bytes = 0, None
        return True

    def rest(self, seconds: float) -> None:
        """After an answer: the next request may begin within ``seconds``, or has begun with what was read beyond the last."""
        self.served = True
        self.received += self.parser.unreader.take_buffered()
        self.deadline = time.monotonic() + (REQUEST_SECONDS if self.received else seconds)

    def part(self) -> bool:
        """Say that no more will be sent; whether the client has yet to close its side. What it still sends is thrown away."""
        try:
            if not self._parting:
                self._parting = True
                self.deadline = time.monotonic() + PARTING_SECONDS
                self.received.clear()
                self.sock.shutdown(socket.SHUT_WR)
                self.sock.setblocking(False)
            return bool(self.sock.recv(_PART_BYTES))
        except BlockingIOError:
            return True
        except OSError:
            return False

    @property
    def has_more(self) -> bool:
        """Whether bytes of the next request are here, where no poller sees them."""
        return bool(self.received) or self.sock.pending() > 0

    @property
    def is_parting(self) -> bool:
        return self._parting

    def _shake_hands(self) -> None:
        """Go on with the TLS handshake."""
        if not isinstance(self.sock, ssl.SSLSocket):
            self.sock = ssl_wrap_socket(self.sock, self.cfg)
        self.sock.do_handshake()
        self.parser = get_parser(self.cfg, self.sock, self.client)
        self.initialized = self._shaken = True
        self.deadline = time.monotonic() + REQUEST_SECONDS

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
        if b"\r\n" not in self.received and len(self.received) > self.cfg.limit_request_line:
            raise http_errors.LimitRequestLine(len(self.received), self.cfg.limit_request_line)

    def _size(self, head_bytes: int) -> int:
        """How many bytes to wait for, when the head is that long. What is wrong with the head is for the parser to say."""
        head = bytes(self.received[:head_bytes])
        lengths = _LENGTH.findall(head)
        self.body_refused = b"\r\ntransfer-encoding" in head.lower() or any(int(length) > self._largest_body for length in lengths)
        if self.body_refused or len(lengths) != 1:
            return head_bytes
        if expected := _EXPECT.search(head):
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            del self.received[expected.start() : expected.end()]
            head_bytes -= expected.end() - expected.start()
        return head_bytes + int(lengths[0])
