"""Mutual TLS 1.3 between nodes, and from gateways to nodes: certificates both ways, identities by SPIFFE ID.

A context is rebuilt when one of its files changes, so that new certificates serve the next connection while those that are open
go on. While a change is half done (a certificate that does not fit its key) the last good context serves.
"""

from __future__ import annotations

import logging
import ssl
import threading
from typing import Any

from model.identity import Identity, IdentityError, only_identity
from node.config import Settings

logger = logging.getLogger(__name__)


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
        return context


def identity_of(connection: Any, trust_domain: str) -> Identity:
    """Whose certificate the other side of a TLS connection showed. Raises IdentityError."""
    if not isinstance(connection, ssl.SSLSocket):
        raise IdentityError("the connection is not TLS")
    certificate = connection.getpeercert() or {}
    names: Any = certificate.get("subjectAltName", ())
    return only_identity([value for kind, value in names if kind == "URI"], trust_domain)
