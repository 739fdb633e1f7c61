"""The gunicorn worker that serves the public: one thread, in which every connection is a greenlet.

gunicorn's thread worker gives a thread to each new connection and keeps it there while the TLS handshake, the headers and the body come in;
a few clients that send nothing, or half of something, then have all its threads. Here thousands of silent and slow clients cost memory,
which is bounded (``gateway.crowd``), and their deadlines are ``gateway.connection``'s. And requests that wait for the same flight wait
without waking each other: half of the CPU time of threads went there.

gevent is used by name: nothing is monkey-patched. What waits in the gateway waits for a client (``gateway.connection``), a node
(``gateway.nodes``) or a flight (``gateway.flights``). Errors that gunicorn's parser finds are answered in our one shape, and never repeat
the request.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from typing import Any

import gevent
from gevent.socket import SOCK_STREAM, socket
from gunicorn.http import errors as http_errors
from gunicorn.workers.base_async import AsyncWorker

from gateway import problem
from gateway.connection import Connection
from gateway.crowd import Crowd
from model.errors import HeadersTooLarge, InvalidRequest, KofnError, UriTooLong

STOPPING_SECONDS = 2.0
"""How long a stopping worker keeps idle connections, for requests that are on their way."""

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

logger = logging.getLogger(__name__)


class Worker(AsyncWorker):
    """gunicorn's part is parsing and WSGI (``handle_request``); connections are ours."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.alive: bool
        self._crowd = Crowd(self.worker_connections)

    def init_process(self) -> None:
        """As gunicorn's, in a process that was forked."""
        gevent.reinit()
        super().init_process()

    def run(self) -> None:
        """Serve until the worker is to stop or its parent is gone, then let requests under way end."""
        listeners = [socket(each.FAMILY, SOCK_STREAM, fileno=each.sock.detach()) for each in self.sockets]
        accepting = [gevent.spawn(self._accept, listener) for listener in listeners]
        while self.alive and os.getppid() == self.ppid and not any(accepting_one.dead for accepting_one in accepting):
            self.notify()
            gevent.sleep(1.0)
        self.alive = False
        gevent.killall(accepting)
        for listener in listeners:
            listener.close()
        self._stop()

    def _stop(self) -> None:
        begun = time.monotonic()
        while len(self._crowd) and time.monotonic() - begun < self.cfg.graceful_timeout:
            if time.monotonic() - begun >= STOPPING_SECONDS:
                self._crowd.drop_idle()
            self.notify()
            gevent.sleep(0.05)

    def _accept(self, listener: socket) -> None:
        """Take new connections, for ever; where there is no room, in place of one that is idle."""
        while True:
            try:
                sock, client = listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._crowd.make_room()
                gevent.sleep(0.01)
                continue
            conn = Connection(self.cfg, sock, client, self._crowd, self.wsgi.config["MAX_CONTENT_LENGTH"])
            self._crowd.join(conn)
            gevent.spawn(self._serve, conn, listener.getsockname())

    def _serve(self, conn: Connection, server: Any) -> None:
        """Serve a connection to its end."""
        try:
            conn.shake_hands()
            try:
                while self._answer(conn, server):
                    conn.rest()
                    if conn.received:
                        gevent.sleep(0)  # the next request is here already; it takes its turn behind those of others
            except http_errors.ParseException as error:
                self.handle_error(None, conn.sock, conn.client, error)
                conn.send()
        except OSError as error:
            logger.debug("a connection ended: %s", type(error).__name__)
        try:
            conn.part()
        finally:
            self._crowd.leave(conn)
            conn.close()

    def _answer(self, conn: Connection, server: Any) -> bool:
        """Serve the next request of ``conn``; whether another may follow."""
        conn.receive()
        last = conn.body_refused or conn.is_old
        try:
            request = next(conn.parser)
            if last:
                request.force_close()
            self.handle_request(server, request, conn.sock, conn.client)
        except (StopIteration, http_errors.NoMoreData):
            keep = False
        except http_errors.ParseException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's, and the worker serves others
            conn.sock.unsent.clear()
            self.handle_error(None, conn.sock, conn.client, error)
            keep = False
        else:
            keep = not last and conn.parser.finish_body()
        conn.send()
        return keep

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what could not be served; the connection must be closed after it."""
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
        client.sendall(f"HTTP/1.1 {error.status} Refused\r\n{head}\r\n".encode() + body)


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
