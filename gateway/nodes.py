"""The wire to one node: kept-alive TLS 1.3 connections, mutually authenticated, that carry one msgpack body each way.

What counts to the caller of a failed exchange is whether the node may have acted on it, so that is what is told apart: ``NotReceived``
(refused, no TLS, the wrong node, or the node said that it did nothing) and ``NoAnswer`` (anything after the first byte was sent).
"""

from __future__ import annotations

import errno
import select
import ssl
import time
from typing import Protocol
from urllib.parse import urlsplit

import gevent
from gevent.socket import IPPROTO_TCP, TCP_NODELAY, create_connection
from gevent.ssl import SSLContext, SSLSocket

from gateway.hardening import overwrite
from gateway.tls import Context, uri_names
from model import framing
from model.identity import Identity, IdentityError, only_identity

CONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0
"""A connection that rested longer is not used again. The nodes close theirs after 75 s: a request never meets one that is being closed."""
CONNECTION_SECONDS = 600.0
"""How long a connection is used, so that certificates are looked at anew. The node would serve it for half as long again."""

_PART_BYTES = 16_384  # a TLS record holds no more


class ExchangeError(Exception):
    """There is no answer; the text is a kind of failure, never content."""


class NotReceived(ExchangeError):
    """The node did nothing with the request."""


class NoAnswer(ExchangeError):
    """The node may have acted on the request, and gave no usable answer."""


class Wire(Protocol):
    """How bytes get to one node and back."""

    def exchange(self, body: bytes, *, repeatable: bool) -> bytes:
        """The node's answer to ``body``. Raises NotReceived or NoAnswer."""


class _Connection:
    """A connection to exactly the node it was meant for.

    The host name alone would not do: every node's certificate may be valid for the same host.
    """

    def __init__(self, host: str, port: int, node: Identity, context: SSLContext) -> None:
        """Connect. Raises OSError, and IdentityError when it is another node."""
        self._host = host
        self._opened = time.monotonic()
        self.rested_since = 0.0
        with gevent.Timeout(CONNECT_SECONDS, TimeoutError):
            plain = create_connection((host, port))
            try:
                plain.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
                self.socket: SSLSocket = context.wrap_socket(plain, server_hostname=host)
            except BaseException:
                plain.close()
                raise
        if only_identity(uri_names(self.socket.getpeercert()), node.trust_domain) != node:
            self.close()
            raise IdentityError("the certificate belongs to another node")

    def post(self, body: bytes, answer_bytes: int) -> framing.Answer:
        """The answer to one request, its body at most ``answer_bytes`` long. Raises OSError, ValueError."""
        self.socket.sendall(framing.request("/v1/operations", self._host, body))
        received = bytearray()
        while (answer := framing.answer(received, answer_bytes)) is None:
            part = self.socket.recv(_PART_BYTES)
            if not part:
                raise ConnectionResetError(errno.ECONNRESET, "the node has closed the connection")
            received += part
        overwrite(received)
        return answer

    @property
    def is_young(self) -> bool:
        """Whether it may be used again, as far as time goes."""
        now = time.monotonic()
        return now - self.rested_since < IDLE_SECONDS and now - self._opened < CONNECTION_SECONDS

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: the node would announce so that it has closed the connection."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self.socket.close()


class NodeWire:
    """The connections to one node.

    ``read_seconds`` bounds a repeatable exchange, ``answer_seconds`` any other, ``answer_bytes`` the answer's size.
    """

    def __init__(
        self, url: str, node: Identity, context: Context, *, read_seconds: float, answer_seconds: float, answer_bytes: int
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._node = node
        self._context = context
        self._read_seconds, self._answer_seconds = read_seconds, answer_seconds
        self._answer_bytes = answer_bytes
        self._resting: list[_Connection] = []

    def exchange(self, body: bytes, *, repeatable: bool) -> bytes:
        """The body of the node's 200 to ``POST /v1/operations``. Raises NotReceived or NoAnswer.

        A ``repeatable`` body (nothing but reads) that a kept-alive connection swallowed is sent once more on a fresh one.
        """
        seconds = self._read_seconds if repeatable else self._answer_seconds
        connection = self._rested()
        if connection is not None:
            try:
                return self._carry(connection, body, seconds)
            except NoAnswer as error:
                if not repeatable or not isinstance(error.__cause__, ConnectionError | ssl.SSLEOFError):
                    raise
        return self._carry(self._fresh(), body, seconds)

    def close(self) -> None:
        """Close the connections that rest."""
        resting, self._resting = self._resting, []
        for connection in resting:
            connection.close()

    def _carry(self, connection: _Connection, body: bytes, seconds: float) -> bytes:
        """One exchange on ``connection``, which rests afterwards or is closed."""
        try:
            with gevent.Timeout(seconds, TimeoutError):  # for all of it, however slowly it drips
                answer = connection.post(body, self._answer_bytes)
        except (OSError, ValueError) as error:
            connection.close()
            raise NoAnswer(type(error).__name__) from error
        except BaseException:
            connection.close()
            raise
        if answer.status == 200 and answer.keeps:
            self._rest(connection)
        else:
            connection.close()
        if answer.status == 503:
            raise NotReceived("the node is not serving")
        if answer.status != 200:
            raise NoAnswer(f"status {answer.status}")
        return answer.body

    def _fresh(self) -> _Connection:
        """A new connection to the right node. Raises NotReceived."""
        try:
            return _Connection(self._host, self._port, self._node, self._context.get())
        except (OSError, ValueError) as error:
            raise NotReceived(type(error).__name__) from error

    def _rested(self) -> _Connection | None:
        """A kept-alive connection that the node has not closed, the latest used first; None where there is none."""
        while self._resting:
            connection = self._resting.pop()
            if connection.is_young and connection.is_quiet:
                return connection
            connection.close()
        return None

    def _rest(self, connection: _Connection) -> None:
        connection.rested_since = time.monotonic()
        self._resting.append(connection)
