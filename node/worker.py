"""The gunicorn worker of a node: a thread stays with its kept-alive connection for a while.

gunicorn's own thread worker hands a connection back to its poller after each request, which costs more than a small inner request
itself. Inner connections are few and trusted, so a thread can wait for the next request on the spot. A connection that is over is
ended by its thread as well: gunicorn's main thread would wait up to two seconds for a caller to close its side, and take no other one
meanwhile.

Handshakes have threads of their own: strangers that stop half-way keep other strangers waiting, and nobody who is known.

When it has to stop, every connection that rests is closed after a short while; gunicorn would wait for the lingering threads first, then
twice as long for what they hand back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from node.tls import CallerSocket

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

    def init_process(self) -> None:
        """As gunicorn's, which returns when the worker has stopped. A bell tells the lingering threads that it will."""
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._door = ThreadPoolExecutor(self.cfg.threads, "door")
        super().init_process()

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """On SIGTERM, in the main thread: take no new connection, and let go of those that rest."""
        super().handle_exit(sig, frame)
        os.eventfd_write(self._bell, 1)
        for conn in self.keepalived_conns:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_LINGER_SECONDS)

    def enqueue_req(self, conn: TConn) -> None:
        """Have a connection served, after its handshake."""
        if conn.initialized:
            super().enqueue_req(conn)
        else:
            self._door.submit(self._let_in, conn)

    def _let_in(self, conn: TConn) -> None:
        try:
            conn.init()
        except Exception as error:  # noqa: BLE001 - whatever a stranger does
            if isinstance(error, ssl.SSLCertVerificationError):
                logger.warning("a caller from %s was not let in: %s", conn.client[0], error.verify_message)
            else:
                logger.debug("a caller was not let in: %s", type(error).__name__)
            with contextlib.suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)
            turned_away: Future[bool] = Future()
            turned_away.set_result(False)
            self.method_queue.defer(self.finish_request, conn, turned_away)
        else:
            super().enqueue_req(conn)

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


def _readable(sock: Any, bell: int | None, seconds: float) -> bool:
    """Whether the next request begins within ``seconds`` and before the bell is rung. Bytes that TLS has read ahead count too."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if bell is not None:
        poll.register(bell, select.POLLIN)
    return any(number == sock.fileno() for number, _ in poll.poll(seconds * 1000))
