"""The gunicorn worker that serves the public: threads, with a deadline for every request and one shape of error for all of them.

gunicorn's own thread worker waits for ever for the rest of a half-sent request, so that a few slow clients take all its threads; and it
answers a request that it cannot parse with a page that repeats it.
"""

from __future__ import annotations

import errno
import logging
import secrets
import ssl
import time
from typing import TYPE_CHECKING, Any

from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from gateway import problem
from gateway.tls import DeadlineSocket
from model.errors import HeadersTooLarge, InvalidRequest, KofnError, UriTooLong

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HANDSHAKE_SECONDS = 5.0
REQUEST_SECONDS = 15.0
"""How long a client may take to send a whole request."""
ANSWER_SECONDS = 30.0
"""How long a client may take to receive a whole answer."""

logger = logging.getLogger(__name__)


class ClientSocket(DeadlineSocket):
    """A client's connection. One that is too slow is treated as one that was reset."""

    def do_handshake(self, block: bool = False) -> None:
        """The TLS handshake, after which the first request's time runs."""
        self.settimeout(HANDSHAKE_SECONDS)
        try:
            super().do_handshake(block)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the handshake took too long") from None
        self.expect_request()

    def expect_request(self) -> None:
        """From now on the time of one request runs."""
        self.deadline = time.monotonic() + REQUEST_SECONDS

    def read(self, len: int = 1024, buffer: WriteableBuffer | None = None) -> bytes:  # noqa: A002 - the name that ssl gave it
        """As ``ssl.SSLSocket.read``."""
        try:
            return super().read(len, buffer)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the request took too long") from None

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As ``ssl.SSLSocket.sendall``."""
        self.settimeout(ANSWER_SECONDS)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "the answer was not taken in time") from None


class Worker(ThreadWorker):
    """gunicorn's thread worker with deadlines and with our error bodies."""

    def handle(self, conn: TConn) -> Any:
        """Serve one request of a connection."""
        if isinstance(conn.sock, ClientSocket):
            conn.sock.expect_request()
        return super().handle(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what could not be parsed, and close. Says nothing to those who do not speak TLS."""
        del req, addr
        if isinstance(exc, ssl.SSLError) or not isinstance(client, ssl.SSLSocket):
            return
        error = refusal(exc)
        request_id = secrets.token_hex(16)
        logger.log(logging.ERROR if error.status >= 500 else logging.INFO, "request %s failed: %s", request_id, type(exc).__name__)
        body = problem.body(error, request_id)
        head = (
            f"HTTP/1.1 {error.status} Refused\r\nContent-Type: {problem.PROBLEM}\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-Id: {request_id}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError:
            logger.debug("the client left before it was answered")


def refusal(error: BaseException) -> KofnError:
    """The error of our own tree for what gunicorn's parser raised."""
    match error:
        case http_errors.LimitRequestLine():
            return UriTooLong()
        case http_errors.LimitRequestHeaders():
            return HeadersTooLarge()
        case http_errors.ParseException():
            return InvalidRequest("The request is not well-formed HTTP/1.1")
        case _:
            return KofnError()
