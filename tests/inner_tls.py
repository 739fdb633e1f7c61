"""Throw-away certificates, and real HTTPS servers on loopback that behave as well or as badly as a test wants. Not a test itself."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cli.certificates import Authority
from model.identity import Role
from node.config import Settings

TRUST_DOMAIN = "kofn.test"
HANDSHAKE_SECONDS = 5.0
CLOSING_SECONDS = 20.0
"""Bounds against hanging."""


class Party:
    """A certificate authority of its own in ``folder``, and what it issued."""

    def __init__(self, folder: Path, trust_domain: str = TRUST_DOMAIN) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = Authority(folder)
        self.authority.create(trust_domain)

    def issue(self, role: Role, identifier: str) -> Path:
        """The folder of a new certificate and key."""
        folder = self.folder / role.value / identifier
        folder.mkdir(parents=True, exist_ok=True)
        self.authority.issue(role, identifier, folder, ("localhost", "127.0.0.1"))
        return folder

    def context(self, purpose: ssl.Purpose, folder: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(purpose, cafile=self.authority.certificate_file)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return context

    def settings(self, node: str, ports: dict[str, int], **others: int) -> Settings:
        folder = self.folder / "node" / node
        if not folder.exists():
            self.issue(Role.NODE, node)
        return Settings(
            id=node,
            trust_domain=TRUST_DOMAIN,
            bind="127.0.0.1:0",
            database=folder / "store.db",
            certificate=folder / "cert.pem",
            key=folder / "key.pem",
            ca=self.authority.certificate_file,
            threshold=2,
            nodes={name: f"https://127.0.0.1:{port}" for name, port in ports.items()},
            **others,
        )


class Host:
    """A TLS server: every connection is handed to ``serve`` in a thread of its own, over and over until it is closed.

    ``serve`` gets the socket and the body of one POST, and sends whatever it likes; it must not go on when the socket fails.
    """

    def __init__(self, context: ssl.SSLContext, serve: Callable[[ssl.SSLSocket, bytes], None], port: int = 0) -> None:
        self._context = context
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self.bodies: list[bytes] = []
        self.connections: list[ssl.SSLSocket] = []
        self.attempts = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no new connection, end those that there are, and wait for their threads, each of which alone may close its own.

        OpenSSL goes on with the number of a file that another thread has closed: what it still had to say, an alert, would go to
        whoever was given that number since.
        """
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread in accept with an open port
        deadline = time.monotonic() + CLOSING_SECONDS
        while alive := [thread for thread in self._threads if thread.is_alive()]:
            assert time.monotonic() < deadline, "a thread does not end with its connection"
            self.hang_up()
            alive[0].join(0.05)
        self._listener.close()

    def hang_up(self) -> None:
        """End every connection that there is now."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # TLS is its own thread's

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._attend, args=(plain,), daemon=True))
            self._threads[-1].start()

    def _attend(self, plain: socket.socket) -> None:
        self.attempts += 1
        plain.settimeout(HANDSHAKE_SECONDS)
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                connection.settimeout(None)
                self.connections.append(connection)
                while (body := _read_request(connection)) is not None:
                    self.bodies.append(body)
                    self._serve(connection, body)
        except (OSError, ValueError):
            plain.close()


def answer(connection: ssl.SSLSocket, body: bytes, status: str = "200 OK", headers: str = "") -> None:
    """A well-formed HTTP answer."""
    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)


def _read_request(connection: ssl.SSLSocket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return body
