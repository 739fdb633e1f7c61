"""The gunicorn worker that serves the public. A thread is given to a request that has arrived, never to a client that is slow.

gunicorn's own thread worker gives a thread to each new connection and keeps it there while the TLS handshake, the headers and the body
come in; a few clients that send nothing, or half of something, then have all its threads. It also lets its poller wait for each client that
is slow to close. Here whatever waits for a client waits in the poller, under a deadline (``gateway.connection``): thousands of silent and
slow clients cost memory, which is bounded, and no thread; and those that are slow to read never have more than half of the threads.

After an answer, a thread that can be spared waits a moment for the next request on the spot: handing a connection back to the poller
costs a third of the gateway's CPU time. Errors that gunicorn's parser finds are answered in our one shape, and never repeat the request.
"""

from __future__ import annotations

import enum
import errno
import logging
import secrets
import select
import selectors
import threading
import time
from concurrent.futures import Future
from functools import partial
from socket import socket
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import ThreadWorker

from gateway import problem
from gateway.connection import ClientSocket, Connection
from model.errors import HeadersTooLarge, InvalidRequest, KofnError, UriTooLong

LINGER_MS = 20
"""How long a thread waits for a connection's next request before it hands the connection back to the poller."""
UNFINISHED_BYTES = 67_108_864
"""How much of unfinished requests is kept at a time; who would go beyond that is disconnected."""
EXPIRY_SECONDS = 0.5
"""How often deadlines are looked at."""
STOPPING_SECONDS = 2.0
"""How long a stopping worker keeps idle connections, for requests that are on their way."""

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

logger = logging.getLogger(__name__)


class After(enum.Enum):
    """What follows when a thread is done with a connection."""

    WAIT = "for more from the client"
    AGAIN = "the next request is here already; it takes its turn behind those of others"
    PART = "nothing more"


class Worker(ThreadWorker):
    """gunicorn's thread worker, with clients waited for in the poller. Only ``handle`` runs in threads, the rest in the main one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._counting = threading.Lock()
        self._queued = 0
        self._serving = 0
        spare = max(1, self.cfg.threads // 2)
        self._spare = threading.BoundedSemaphore(spare)
        ClientSocket.patience = threading.BoundedSemaphore(spare)
        self._waiting: dict[Connection, None] = {}
        self._unfinished_bytes = 0
        self._looked_at = 0.0
        self._stopping_at: float | None = None

    def accept(self, listener: socket) -> None:
        """Take a new connection; where there is no room, in place of the one that is idle for longest."""
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._evict()
            return
        self.nr_conns += 1
        self._wait(Connection(self.cfg, sock, client, listener.getsockname(), self.wsgi.config["MAX_CONTENT_LENGTH"]))
        if self.nr_conns >= self.worker_connections:
            self._evict()

    def enqueue_req(self, conn: Connection) -> None:
        """Let ``conn`` wait for a thread."""
        with self._counting:
            self._queued += 1
        super().enqueue_req(conn)

    def handle(self, conn: Connection) -> After:
        """Serve a request of ``conn`` that has arrived, and those that follow soon. Runs in a thread and never waits for a slow client."""
        with self._counting:
            self._queued -= 1
            self._serving += 1
        try:
            return self._serve(conn)
        finally:
            with self._counting:
                self._serving -= 1

    def _serve(self, conn: Connection) -> After:
        request = None
        try:
            while conn.advance():
                request = next(conn.parser)
                if conn.body_refused:
                    request.force_close()
                if not self._keepalive_after(conn, self.handle_request(request, conn)):
                    return After.PART
                request = None
                conn.rest(self.cfg.keepalive)
                if conn.has_more:
                    return After.AGAIN
                if not self._follows(conn):
                    break
            return After.WAIT
        except (StopIteration, http_errors.NoMoreData, OSError) as error:
            logger.debug("a connection ended: %s", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's, and the thread serves others
            self.handle_error(request, conn.sock, conn.client, error)
        return After.PART

    def finish_request(self, conn: Connection, fs: Future[After]) -> None:
        """Do what follows a ``handle``."""
        after = After.PART if fs.cancelled() or fs.exception() is not None else fs.result()
        match after:
            case After.WAIT:
                self._wait(conn)
            case After.AGAIN:
                self.enqueue_req(conn)
            case After.PART:
                self._part(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close the connections whose deadline has passed, or all."""
        now = time.monotonic()
        if now - self._looked_at < EXPIRY_SECONDS and not force:
            return
        self._looked_at = now
        if not self.alive and self._stopping_at is None:
            self._stopping_at = now + STOPPING_SECONDS
        for conn in list(self._waiting):
            stopping = self._stopping_at is not None and not conn.received and now >= self._stopping_at
            if force or stopping or now >= conn.deadline:
                self._drop(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what could not be parsed, and close."""
        del req, addr
        error = refusal(exc)
        request_id = secrets.token_hex(16)
        logger.log(logging.ERROR if error.status >= 500 else logging.INFO, "request %s failed: %s", request_id, type(exc).__name__)
        body = problem.body(error, request_id)
        headers = {
            "Content-Type": problem.PROBLEM,
            "Content-Length": str(len(body)),
            "X-Request-Id": request_id,
            "Connection": "close",
            **problem.SECURITY_HEADERS,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            client.sendall(f"HTTP/1.1 {error.status} Refused\r\n{head}\r\n".encode() + body)
        except OSError:
            logger.debug("the client left before it was answered")

    def _follows(self, conn: Connection) -> bool:
        """Whether the next request begins within the linger time; no where a thread cannot be spared or somebody waits for one."""
        all_threads_taken = self._queued + self._serving > self.cfg.threads
        if not self.alive or all_threads_taken or not self._spare.acquire(blocking=False):
            return False
        try:
            readable = select.poll()  # select() itself takes no descriptor above 1023
            readable.register(conn.sock, select.POLLIN)
            return bool(readable.poll(LINGER_MS))
        finally:
            self._spare.release()

    def _wait(self, conn: Connection) -> None:
        """Let ``conn`` wait in the poller."""
        while self._unfinished_bytes + len(conn.received) > UNFINISHED_BYTES:
            largest = max(self._waiting, key=lambda other: len(other.received))
            if len(largest.received) < len(conn.received):
                self._close(conn)
                return
            self._drop(largest)
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._resume, conn))
        self._waiting[conn] = None
        self._unfinished_bytes += len(conn.received)

    def _resume(self, conn: Connection, _: Any) -> None:
        """Something came. It does not help a client whose deadline has passed, or dripping would keep it from ever being looked at."""
        self._forget(conn)
        if time.monotonic() >= conn.deadline:
            self._close(conn)
        elif conn.is_parting:
            self._part(conn)
        else:
            self.enqueue_req(conn)

    def _part(self, conn: Connection) -> None:
        """Close ``conn``, once the client has closed its side."""
        if conn.part():
            self._wait(conn)
        else:
            self._close(conn)

    def _evict(self) -> None:
        """Drop the connection that has been waiting for longest, of those that were never answered if there are any."""
        oldest = next((conn for conn in self._waiting if not conn.served), next(iter(self._waiting), None))
        if oldest is not None:
            self._drop(oldest)

    def _drop(self, conn: Connection) -> None:
        self._forget(conn)
        self._close(conn)

    def _forget(self, conn: Connection) -> None:
        del self._waiting[conn]
        self._unfinished_bytes -= len(conn.received)
        self.poller.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()


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
