"""TLS 1.3 with the cluster's certificate authority, for both sides of the gateway.

Nodes must show a certificate, clients may. A context is rebuilt when one of its files changes, so that new certificates serve the next
connection while those that are open go on. While a change is half done (a certificate that does not fit its key) the last good context
serves.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

logger = logging.getLogger(__name__)


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket whose reads all end by one deadline (on the monotonic clock), however slowly the other side drips."""

    deadline: float | None = None

    def read(self, len: int = 1024, buffer: WriteableBuffer | None = None) -> bytes:  # noqa: A002 - the name that ssl gave it
        """As ``ssl.SSLSocket.read``, under every ``recv`` and ``recv_into``. Raises TimeoutError at the deadline."""
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the deadline for reading has passed")
            self.settimeout(left)
        return super().read(len, buffer)


class Context:
    """An SSLContext that follows its files: ``get`` gives the one for the next connection. Its sockets are ``sockets``."""

    def __init__(
        self, purpose: ssl.Purpose, *, certificate: Path, key: Path, ca: Path, sockets: type[ssl.SSLSocket] = DeadlineSocket
    ) -> None:
        self._purpose = purpose
        self._certificate, self._key, self._ca = certificate, key, ca
        self._sockets = sockets
        self._lock = threading.Lock()
        self._seen = self._look()
        self._context = self._build()

    def get(self) -> ssl.SSLContext:
        """The context of the newest files that could be read."""
        with self._lock:
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._context = self._build()
                except (OSError, ssl.SSLError) as error:
                    logger.error("the changed TLS files cannot be used yet (%s); the old ones stay", type(error).__name__)
            return self._context

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells a changed file: time, size and inode of each; None for one that is away."""
        return tuple(stamp(path) for path in (self._certificate, self._key, self._ca))

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context(self._purpose, cafile=self._ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self._certificate, self._key)
        context.sslsocket_class = self._sockets
        if self._purpose is ssl.Purpose.CLIENT_AUTH:
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file at ``path`` does: its modification time (ns), size (bytes) and inode; None when it is away."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def uri_names(certificate: object) -> tuple[str, ...]:
    """The URI SANs of a peer certificate as ``ssl.SSLSocket.getpeercert`` gives it; none for no certificate."""
    if not isinstance(certificate, dict):
        return ()
    return tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")
