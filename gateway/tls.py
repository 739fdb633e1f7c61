"""TLS 1.3 with the cluster's certificate authority, for both sides of the gateway, over gevent's cooperative sockets.

Nodes must show a certificate, clients may. A context is rebuilt when one of its files changes, so that new certificates serve the next
connection while those that are open go on. While a change is half done (a certificate that does not fit its key) the last good context
serves.
"""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from gevent.ssl import SSLContext, SSLSocket

logger = logging.getLogger(__name__)


class Context:
    """An SSLContext that follows its files: ``get`` gives the one for the next connection. Its sockets are ``sockets``."""

    def __init__(self, purpose: ssl.Purpose, *, certificate: Path, key: Path, ca: Path, sockets: type[SSLSocket] = SSLSocket) -> None:
        self._purpose = purpose
        self._certificate, self._key, self._ca = certificate, key, ca
        self._sockets = sockets
        self._seen = self._look()
        self._context = self._build()

    def get(self) -> SSLContext:
        """The context of the newest files that could be read."""
        seen = self._look()
        if seen != self._seen:
            try:
                self._context = self._build()
                self._seen = seen
            except (OSError, ssl.SSLError) as error:
                logger.error("the changed TLS files cannot be used yet (%s); the old ones stay", type(error).__name__)
        return self._context

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells a changed file: time, size and inode of each; None for one that is away."""
        return tuple(stamp(path) for path in (self._certificate, self._key, self._ca))

    def _build(self) -> SSLContext:
        serves = self._purpose is ssl.Purpose.CLIENT_AUTH
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER if serves else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self._ca)
        context.load_cert_chain(self._certificate, self._key)
        context.sslsocket_class = self._sockets
        if serves:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.num_tickets = 0  # a resumed session would outlive its certificate
        return context


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file at ``path`` does: its modification time (ns), size (bytes) and inode; None when it is away."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def uri_names(certificate: object) -> tuple[str, ...]:
    """The URI SANs of a peer certificate as ``SSLSocket.getpeercert`` gives it; none for no certificate."""
    if not isinstance(certificate, dict):
        return ()
    return tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")
