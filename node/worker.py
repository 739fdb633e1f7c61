"""The gunicorn worker of a node: a thread stays with its kept-alive connection for a while.

gunicorn's own thread worker hands a connection back to its poller after each request, which costs more than a small inner request
itself. Inner connections are few and trusted, so a thread can wait for the next request on the spot. A connection that is over is
ended by its thread as well: gunicorn's main thread would wait up to two seconds for a caller to close its side, and take no other one
meanwhile.

Handshakes need no thread: the main thread goes on with each when something comes. Strangers that are silent, or stop half-way, cost a place
among the connections until their time is up.

When it has to stop, also because its parent is gone, every connection that rests is closed after a short while; gunicorn would wait for the
lingering threads first, then twice as long for what they hand back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import selectors
import signal
import socket
import ssl
import time
from functools import partial
from typing import Any

from gunicorn.http import get_parser
from gunicorn.sock import ssl_wrap_socket
from gunicorn.workers.gthread import PollableMethodQueue, TConn, ThreadWorker

from node.tls import CallerSocket

HANDSHAKE_SECONDS = 3.0
LINGER_SECONDS = 2.0
STOP_LINGER_SECONDS = 0.5
"""How long a connection that rests is kept when the worker stops: its next request may be on its way, and is answered as the last one."""
REQUEST_SECONDS = 10.0
"""How long a peer or gateway may take to send a whole request."""
CONNECTION_SECONDS = 900.0
"""How long a connection is served. Then its other end has to be let in anew, with a certificate that is valid then."""
ANSWER_SECONDS = 10.0
"""How long it may take to receive an answer."""

logger = logging.getLogger(__name__)


class Worker(ThreadWorker):
    """gunicorn's thread worker with lingering threads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.method_queue = _Queue()

    def init_process(self) -> None:
        """As gunicorn's, which returns when the worker has stopped. A bell tells the lingering threads that it will."""
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        super().init_process()

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """On SIGTERM, in the main thread: take no new connection, and let go of those that rest."""
        super().handle_exit(sig, frame)
        os.eventfd_write(self._bell, 1)
        for conn in self.keepalived_conns:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_LINGER_SECONDS)

    def is_parent_alive(self) -> bool:
        """As gunicorn's; without its parent the worker stops as on SIGTERM."""
        alive: bool = super().is_parent_alive()
        if not alive:
            self.handle_exit(signal.SIGTERM, None)
        return alive

    def enqueue_req(self, conn: TConn) -> None:
        """Have a connection served, after its handshake."""
        if conn.initialized:
            super().enqueue_req(conn)
            return
        try:
            conn.sock = ssl_wrap_socket(conn.sock, self.cfg)
        except OSError as error:
            self._turn_away(conn, error)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HANDSHAKE_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._shake_hands, conn))

    def _shake_hands(self, conn: TConn, _: Any) -> None:
        """Go on with a handshake, whose next part has come. One that has not ended in time is cut off by gunicorn's ``murder_pending``."""
        try:
            conn.sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except Exception as error:  # noqa: BLE001 - whatever a stranger does
            self._no_longer_pending(conn)
            self._turn_away(conn, error)
            return
        self._no_longer_pending(conn)
        conn.sock.setblocking(True)
        conn.parser = get_parser(self.cfg, conn.sock, conn.client)
        conn.initialized = True
        super().enqueue_req(conn)

    def _no_longer_pending(self, conn: TConn) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def _turn_away(self, conn: TConn, error: Exception) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            logger.warning("a caller from %s was not let in: %s", conn.client[0], error.verify_message)
        else:
            logger.debug("a caller was not let in: %s", type(error).__name__)
        self.nr_conns -= 1
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_RDWR)
        conn.close()

    def handle(self, conn: TConn) -> Any:
        """Serve a connection's request, and those that follow within the linger time."""
        keep = self._serve(conn)
        while keep is True and self._goes_on(conn.sock):
            keep = self._serve(conn)
        if keep is True and not self.alive:
            keep = False
        if keep is False:
            with contextlib.suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)
        return keep

    def _goes_on(self, sock: Any) -> bool:
        """Whether another request begins within the linger time, which is shorter once the worker stops."""
        if self.alive and _readable(sock, self._bell, LINGER_SECONDS):
            return True
        return not self.alive and _readable(sock, None, STOP_LINGER_SECONDS)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """As gunicorn's; the last answer on a connection that is too old says so."""
        if time.monotonic() - conn.sock.opened > CONNECTION_SECONDS:
            req.force_close()
        return super().handle_request(req, conn)

    def _serve(self, conn: TConn) -> Any:
        """One request, which must arrive whole in time (``node.tls``), and its answer."""
        if isinstance(conn.sock, CallerSocket):
            conn.sock.deadline = time.monotonic() + REQUEST_SECONDS
        keep = super().handle(conn)
        if isinstance(conn.sock, CallerSocket) and conn.sock.unsent:
            try:
                conn.sock.flush(ANSWER_SECONDS)
            except OSError as error:
                logger.debug("an answer was not taken: %s", type(error).__name__)
                return False
        return keep


class _Queue(PollableMethodQueue):
    """gunicorn's, but open to the end of the process: a thread that ends late would write to a number that is somebody else's by then."""

    def close(self) -> None:
        """Nothing."""


def _readable(sock: Any, bell: int | None, seconds: float) -> bool:
    """Whether the next request begins within ``seconds`` and before the bell is rung. Bytes that TLS has read ahead count too."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if bell is not None:
        poll.register(bell, select.POLLIN)
    return any(number == sock.fileno() for number, _ in poll.poll(seconds * 1000))
