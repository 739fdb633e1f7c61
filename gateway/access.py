"""Who is asking, and what may they do.

A caller is known by a bearer token or by a client certificate with exactly one SPIFFE ID of the role client. Tokens, clients and what their
principals may do stand in one file (``model.callers``), re-read when it changes, so that what was revoked is refused from the next request
on. A changed file that cannot be used leaves the last good one in force.

Every route that asks the nodes gets the identities of its secrets from a ``Caller``, which first has all of them granted and the request
recorded. What is not granted is ``forbidden``, in the same words whether it exists or not: no node has been asked.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from gevent.ssl import SSLSocket
from werkzeug.wrappers import Request

from gateway.limiting import Limits
from gateway.tls import stamp, uri_names
from gateway.trail import Trail
from model.callers import Callers, CallersError, decode, digest, split_token
from model.errors import Forbidden, InvalidRequest, Unauthenticated
from model.grants import Capability, Principal
from model.identity import IdentityError, Role, only_identity
from model.name import check_namespace
from model.operation import SecretId

logger = logging.getLogger(__name__)

_NO_DIGEST = "0" * 64


class Access:
    """The callers in the file at ``path``. Raises OSError or CallersError where there never was a usable one."""

    def __init__(self, path: Path, trust_domain: str, limits: Limits) -> None:
        self._path = path
        self._trust_domain = trust_domain
        self._limits = limits
        self._seen = stamp(path)
        self._callers = decode(path.read_bytes())

    def caller(self, request: Request, trail: Trail) -> Caller:
        """Who sent ``request``, and about which of their namespaces; both are noted on ``trail``.

        Raises as ``_identify`` does, and InvalidRequest for a malformed Kofn-Namespace, or where a choice is missing.
        """
        principal = self._identify(request, trail)
        trail.namespace = _choose_namespace(principal, request.headers.get("Kofn-Namespace"))
        return Caller(principal, trail.namespace, trail)

    def authorise_status(self, request: Request, trail: Trail) -> None:
        """Let who sent ``request`` see the status, and record it. Raises as ``_identify`` does, and Forbidden."""
        principal = self._identify(request, trail)
        if not principal.may_see_status():
            raise Forbidden
        trail.begin()

    def _identify(self, request: Request, trail: Trail) -> Principal:
        """The bearer of the token in ``request``, else the holder of the connection's certificate.

        Raises Unauthenticated, always with the same words, for a token that is malformed, unknown or wrong and for no credentials at all;
        Forbidden for a certificate that names no client, or one that nothing was granted to; RateLimited.
        """
        callers = self._current()
        authorization = request.headers.get("Authorization")
        connection = request.environ.get("gunicorn.socket")
        certificate = connection.getpeercert() if isinstance(connection, SSLSocket) else None
        if authorization is None and certificate:
            credential, principal = self._holder(callers, uri_names(certificate))
        else:
            source = request.remote_addr or ""
            self._limits.check_lock(source)
            try:
                credential, principal = _bearer(callers, authorization or "")
            except Unauthenticated:
                self._limits.count_guess(source)
                raise
        trail.credential, trail.principal = credential, principal.id
        self._limits.admit_principal(principal.id)
        return principal

    def _holder(self, callers: Callers, uris: tuple[str, ...]) -> tuple[str, Principal]:
        try:
            identity = only_identity(uris, self._trust_domain)
        except IdentityError as error:
            raise Forbidden("The client certificate must have exactly one URI SAN, a SPIFFE ID of this trust domain") from error
        if identity.role is not Role.CLIENT:
            raise Forbidden("Only a certificate of the role client may call this API")
        client = callers.clients.get(identity.uri)
        if client is None:
            raise Forbidden("Nothing is granted to this client certificate")
        return identity.uri, callers.principals[client.principal]

    def _current(self) -> Callers:
        seen = stamp(self._path)
        if seen != self._seen:
            self._seen = seen
            try:
                self._callers = decode(self._path.read_bytes())
            except (OSError, CallersError) as error:
                logger.error("the changed access file cannot be used (%s); the last good one stays in force", error)
        return self._callers


def _bearer(callers: Callers, authorization: str) -> tuple[str, Principal]:
    """The bearer of a valid token. An unknown id costs the same comparison as a wrong secret."""
    scheme, _, credentials = authorization.partition(" ")
    parts = split_token(credentials.strip(" "))
    if scheme.lower() != "bearer" or parts is None:
        raise Unauthenticated
    identifier, secret = parts
    token = callers.tokens.get(identifier)
    if not hmac.compare_digest(digest(secret), token.digest if token else _NO_DIGEST) or token is None:
        raise Unauthenticated
    return f"token:{identifier}", callers.principals[token.principal]


def _choose_namespace(principal: Principal, wanted: str | None) -> str:
    """The namespace that a request is about: the header ``Kofn-Namespace``, or the only one there is."""
    if wanted is not None:
        return check_namespace(wanted)
    if len(principal.namespaces) == 1:
        return principal.namespaces[0]
    if not principal.namespaces:
        raise Forbidden
    raise InvalidRequest("These credentials have several namespaces; choose one with the header Kofn-Namespace")


class Listing(msgspec.Struct, frozen=True):
    """The names that a caller may list: those in ``namespace`` that begin with one of ``starts`` (sorted) and are ``visible``."""

    namespace: str
    starts: tuple[str, ...]
    visible: Callable[[str], bool]


class Caller(msgspec.Struct, frozen=True):
    """A principal and the namespace that their request is about. What a method returns has been granted and recorded."""

    principal: Principal
    namespace: str
    trail: Trail

    @property
    def scope(self) -> tuple[str, str]:
        """Namespace and principal: where an idempotency key means one request (SEM-20)."""
        return self.namespace, self.principal.id

    def may(self, capability: Capability, name: str) -> SecretId:
        """The secret ``name`` in the namespace. Raises Forbidden or AuditUnavailable; call it once in a request."""
        self.trail.wants(capability, name)
        if not self.principal.may(capability, self.namespace, name):
            raise Forbidden
        self.trail.begin()
        return SecretId(self.namespace, name)

    def may_all(self, uses: Sequence[tuple[Capability, str]]) -> list[SecretId]:
        """The secret of each of ``uses``, if all are granted. Raises Forbidden, with every name that is not, or AuditUnavailable."""
        for capability, name in uses:
            self.trail.wants(capability, name)
        denied = tuple(name for capability, name in uses if not self.principal.may(capability, self.namespace, name))
        if denied:
            raise Forbidden(names=denied)
        self.trail.begin()
        return [SecretId(self.namespace, name) for _, name in uses]

    def may_list(self, prefix: str) -> Listing:
        """The names with ``prefix`` that may be listed. Raises Forbidden where no name at all may be, or AuditUnavailable."""
        self.trail.wants("list", prefix)
        if not self.principal.may_list_in(self.namespace):
            raise Forbidden
        self.trail.begin()
        namespace, may = self.namespace, self.principal.may
        return Listing(namespace, self.principal.list_starts(namespace, prefix), lambda name: may("list", namespace, name))
