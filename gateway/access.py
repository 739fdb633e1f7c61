"""Who is asking, and what may they do.

A caller is known by a bearer token ``kofn_ID_SECRET`` or by a client certificate with exactly one SPIFFE ID of the role client. The tokens'
digests and the namespaces of both kinds of callers stand in one TOML file, re-read when it changes, so that a revoked token is refused
from the next request on:

    [tokens.3f9c0a7be2]
    digest = "hex SHA-256 of the SECRET part"
    namespaces = ["default"]

    [clients."spiffe://kofn.local/client/ci"]
    namespaces = ["ci"]

``authorise`` is the one place where a capability is granted or refused; every route passes through it before any node is asked.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import ssl
import threading
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from werkzeug.wrappers import Request

from gateway.tls import stamp, uri_names
from model.errors import Forbidden, InvalidRequest, Unauthenticated
from model.identity import IdentityError, Role, only_identity, parse
from model.name import check_namespace
from model.operation import SecretId

Capability = Literal["create", "read", "update", "delete", "history", "list", "status"]

logger = logging.getLogger(__name__)

_TOKEN = re.compile(r"kofn_([a-z0-9]{8,32})_([A-Za-z0-9_-]{43})")
_NO_DIGEST = "0" * 64


class Principal(msgspec.Struct, frozen=True):
    """A caller: ``id`` for the logs (``token:ID`` or the SPIFFE ID), and the namespaces that are theirs."""

    id: str
    namespaces: tuple[str, ...]


class _Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    namespaces: tuple[str, ...]

    def __repr__(self) -> str:
        return f"_Token(namespaces={self.namespaces!r})"


class _Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    namespaces: tuple[str, ...]


class _Callers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: dict[str, _Token] = {}
    clients: dict[str, _Client] = {}


def _load(path: Path) -> _Callers:
    """The callers in the file. Raises OSError or ValueError."""
    callers = msgspec.toml.decode(path.read_bytes(), type=_Callers)
    granted = [*(token.namespaces for token in callers.tokens.values()), *(client.namespaces for client in callers.clients.values())]
    for namespaces in granted:
        for namespace in namespaces:
            check_namespace(namespace)
    for uri in callers.clients:
        if parse(uri).role is not Role.CLIENT:
            raise ValueError("a client's SPIFFE ID has the role client")
    return callers


class Access:
    """The callers in the file at ``path``. A changed file that cannot be read leaves the last good one in force, and is logged."""

    def __init__(self, path: Path, trust_domain: str) -> None:
        self._path = path
        self._trust_domain = trust_domain
        self._lock = threading.Lock()
        self._seen = stamp(path)
        self._callers = _load(path)

    def identify(self, request: Request) -> Principal:
        """Who sent ``request``: the bearer of a token, else the holder of the connection's certificate.

        Raises Unauthenticated, always with the same words, for a token that is malformed, unknown or wrong and for no credentials at all;
        Forbidden for a certificate that names no client, or one that nothing was granted to.
        """
        callers = self._current()
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            return _bearer(callers, authorization)
        connection = request.environ.get("gunicorn.socket")
        certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
        if certificate:
            return self._holder(callers, uri_names(certificate))
        raise Unauthenticated

    def caller(self, request: Request) -> Caller:
        """Who sent ``request``, and about which of their namespaces. Raises as ``identify`` and ``choose_namespace`` do."""
        principal = self.identify(request)
        return Caller(principal, choose_namespace(principal, request.headers.get("Kofn-Namespace")))

    def _holder(self, callers: _Callers, uris: tuple[str, ...]) -> Principal:
        try:
            identity = only_identity(uris, self._trust_domain)
        except IdentityError as error:
            raise Forbidden("The client certificate must have exactly one URI SAN, a SPIFFE ID of this trust domain") from error
        if identity.role is not Role.CLIENT:
            raise Forbidden("Only a certificate of the role client may call this API")
        client = callers.clients.get(identity.uri)
        if client is None:
            raise Forbidden("Nothing is granted to this client certificate")
        return Principal(identity.uri, client.namespaces)

    def _current(self) -> _Callers:
        seen = stamp(self._path)
        with self._lock:
            if seen != self._seen:
                self._seen = seen
                try:
                    self._callers = _load(self._path)
                except (OSError, ValueError, InvalidRequest) as error:
                    logger.error("the changed tokens file cannot be used (%s); the last good one stays in force", type(error).__name__)
            return self._callers


def _bearer(callers: _Callers, authorization: str) -> Principal:
    """The bearer of a valid token. An unknown id costs the same comparison as a wrong secret."""
    scheme, _, credentials = authorization.partition(" ")
    match = _TOKEN.fullmatch(credentials.strip(" "))
    if scheme.lower() != "bearer" or match is None:
        raise Unauthenticated
    token = callers.tokens.get(match[1])
    digest = hashlib.sha256(match[2].encode()).hexdigest()
    if not hmac.compare_digest(digest, token.digest if token else _NO_DIGEST) or token is None:
        raise Unauthenticated
    return Principal(f"token:{match[1]}", token.namespaces)


def choose_namespace(principal: Principal, wanted: str | None) -> str:
    """The namespace that a request is about: the header ``Kofn-Namespace``, or the only one there is.

    Raises InvalidRequest for a malformed header or where a choice is missing. Whether it is the caller's is ``authorise``'s to say.
    """
    if wanted is not None:
        return check_namespace(wanted)
    if len(principal.namespaces) == 1:
        return principal.namespaces[0]
    if not principal.namespaces:
        raise Forbidden("These credentials have no namespace")
    raise InvalidRequest("These credentials have several namespaces; choose one with the header Kofn-Namespace")


def authorise(principal: Principal, capability: Capability, namespace: str | None, name: str | None) -> None:
    """Let ``principal`` use ``capability`` on the secret ``name`` in ``namespace``, or raise Forbidden.

    A namespace grants its callers every capability on all its names, and a caller of any namespace may see the status (both None).
    """
    del capability, name
    if not principal.namespaces or (namespace is not None and namespace not in principal.namespaces):
        raise Forbidden


class Caller(msgspec.Struct, frozen=True):
    """A principal and the namespace that their request is about. Each method authorises, or raises Forbidden."""

    principal: Principal
    namespace: str

    def may(self, capability: Capability, name: str) -> SecretId:
        """The secret ``name`` in the namespace, if ``capability`` on it is granted."""
        authorise(self.principal, capability, self.namespace, name)
        return SecretId(self.namespace, name)

    def may_list(self, prefix: str) -> str:
        """The namespace, if the names that begin with ``prefix`` may be listed."""
        authorise(self.principal, "list", self.namespace, prefix)
        return self.namespace
