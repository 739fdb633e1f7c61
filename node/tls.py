"""Mutual TLS 1.3 between nodes, and from gateways to nodes: certificates both ways, identities by SPIFFE ID.

A context is rebuilt when one of its files changes, so that new certificates serve the next connection while those that are open
go on. While a change is half done (a certificate that does not fit its key) the last good context serves.
"""

from __future__ import annotations

import errno
import logging
import ssl
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from model.identity import Identity, IdentityError, only_identity
from node.config import Settings
from node.hardening import overwrite

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

logger = logging.getLogger(__name__)


class CallerSocket(ssl.SSLSocket):
    """The socket of a gateway or peer that calls. Its reads all end by one ``deadline`` (monotonic), however slowly the other side drips.

    Who is late ends like one who has left: gunicorn logs any other error with a traceback. ``opened`` is when the handshake was done.
    gunicorn writes an answer in parts; they are kept, and leave together at ``flush``.
    """

    deadline: float | None = None
    opened = 0.0

    @cached_property
    def unsent(self) -> bytearray:
        """What is kept of the answer so far. (An SSLSocket is not made by its ``__init__``.)"""
        return bytearray()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The URI SANs of the caller's certificate. They stay the same for as long as the connection lives."""
        return _names(self)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Keep ``data`` for ``flush``."""
        del flags
        self.unsent += data

    def flush(self, seconds: float) -> None:
        """Send all that is kept. Raises OSError when the other side has left or does not take it in time."""
        unsent, self.unsent = self.unsent, bytearray()
        self.settimeout(seconds)
        try:
            super().sendall(unsent)
        finally:
            overwrite(unsent)

    def do_handshake(self, block: bool = False) -> None:
        """As ``ssl.SSLSocket.do_handshake``."""
        super().do_handshake(block)
        self.opened = time.monotonic()

    def read(self, len: int = 1024, buffer: WriteableBuffer | None = None) -> bytes:  # noqa: A002 - the name that ssl gave it
        """As ``ssl.SSLSocket.read``, which every other way of reading uses. Raises ConnectionResetError at the deadline."""
        if self.deadline is None:
            return super().read(len, buffer)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _too_late()
        self.settimeout(left)
        try:
            return super().read(len, buffer)
        except TimeoutError:
            raise _too_late() from None


def _too_late() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the deadline for reading has passed")


class MutualContext:
    """The SSLContext for the next connection, one for each direction."""

    def __init__(self, settings: Settings, purpose: ssl.Purpose) -> None:
        self._settings = settings
        self._purpose = purpose
        self._lock = threading.Lock()
        self._seen: object = None
        self._context: ssl.SSLContext | None = None

    def get(self) -> ssl.SSLContext:
        """The context of the newest files that could be read. Raises OSError if there never were usable ones."""
        with self._lock:
            try:
                files = (self._settings.certificate, self._settings.key, self._settings.ca)
                seen = [(status.st_mtime_ns, status.st_size, status.st_ino) for status in (file.stat() for file in files)]
                if self._context is None or seen != self._seen:
                    self._context = self._build()
                    self._seen = seen
            except (OSError, ssl.SSLError) as error:
                if self._context is None:
                    raise
                logger.error("the changed TLS files cannot be used yet (%s); the old ones stay", type(error).__name__)
            return self._context

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context(self._purpose, cafile=self._settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._settings.certificate, self._settings.key)
        if self._purpose is ssl.Purpose.CLIENT_AUTH:
            context.sslsocket_class = CallerSocket
            context.num_tickets = 0  # a resumed session would outlive its certificate
        return context


def identity_of(connection: Any, trust_domain: str) -> Identity:
    """Whose certificate the other side of a TLS connection showed. Raises IdentityError."""
    if not isinstance(connection, ssl.SSLSocket):
        raise IdentityError("the connection is not TLS")
    names = connection.names if isinstance(connection, CallerSocket) else _names(connection)
    return only_identity(names, trust_domain)


def _names(connection: ssl.SSLSocket) -> tuple[str, ...]:
    """The URI SANs of the certificate that the other side showed."""
    certificate = connection.getpeercert() or {}
    alternatives: Any = certificate.get("subjectAltName", ())
    return tuple(value for kind, value in alternatives if kind == "URI")
