"""One request to a peer and its answer, on a kept-alive connection. Nothing here waits: whoever carries a flight polls for it."""

from __future__ import annotations

import errno
import select
import socket
import ssl
import time
from collections.abc import Iterable

from model import framing
from model.identity import Identity, IdentityError
from node.hardening import overwrite
from node.tls import identity_of

_PART_BYTES = 16_384  # a TLS record holds no more
CONNECTION_SECONDS = 600.0
"""How long a connection is used, so that certificates are looked at anew. The peer would serve it for half as long again."""


class Connection:
    """A TLS connection to exactly one node: a host name alone would let one node pose as another."""

    def __init__(self, host: str, port: int, node: Identity, context: ssl.SSLContext, seconds: float) -> None:
        """Connect, in about ``seconds``. Raises OSError, and IdentityError when it is another node."""
        plain = socket.create_connection((host, port), seconds)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self.host = host
        try:
            if identity_of(self.socket, node.trust_domain) != node:
                raise IdentityError("the certificate belongs to another node")
        except BaseException:
            self.close()
            raise
        self.socket.setblocking(False)
        self._opened = time.monotonic()

    @property
    def is_old(self) -> bool:
        """Whether it should carry no other request."""
        return time.monotonic() - self._opened > CONNECTION_SECONDS

    def close(self) -> None:
        self.socket.close()


class Flight:
    """A request under way on ``connection``, to be answered by ``deadline`` (monotonic) in at most ``answer_bytes``."""

    def __init__(self, connection: Connection, path: str, body: bytes, deadline: float, answer_bytes: int) -> None:
        self.connection = connection
        self.deadline = deadline
        self.wants = select.POLLOUT
        self._unsent = memoryview(framing.request(path, connection.host, body))
        self._received = bytearray()
        self._answer_bytes = answer_bytes

    def advance(self) -> framing.Answer | None:
        """Send what can be sent and take what has come; the answer once it is whole. Raises OSError or ValueError if there will be none."""
        sock = self.connection.socket
        try:
            while self._unsent:
                self._unsent = self._unsent[sock.send(self._unsent) :]
            while True:
                part = sock.recv(_PART_BYTES)
                if not part:
                    raise ConnectionResetError(errno.ECONNRESET, "the peer has closed the connection")
                self._received += part
                answer = framing.answer(self._received, self._answer_bytes)
                if answer is not None:
                    overwrite(self._received)
                    return answer
        except ssl.SSLWantReadError:
            self.wants = select.POLLIN
        except ssl.SSLWantWriteError:
            self.wants = select.POLLOUT
        return None


def wait(flights: Iterable[Flight], bell: int | None, seconds: float) -> None:
    """Until one of ``flights`` can go on, the event file descriptor ``bell`` was rung, or the time is over."""
    poll = select.poll()
    for flight in flights:
        poll.register(flight.connection.socket, flight.wants)
    if bell is not None:
        poll.register(bell, select.POLLIN)
    poll.poll(max(0.0, seconds * 1000))
