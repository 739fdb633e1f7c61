"""Principals: who a certificate says that its holder is.

Every process and client has one SPIFFE ID, ``spiffe://TRUST_DOMAIN/ROLE/ID``, as the only URI SAN of its certificate. The grammar
is that of the SPIFFE ID standard, section 2: a trust domain of lower-case letters, digits, ``.``, ``-`` and ``_``, at most 255 bytes;
path segments of letters, digits, ``.``, ``-`` and ``_``, none empty, ``.`` or ``..``; no port, user, query, fragment or percent-encoding;
2048 bytes at most. The role is the path's first segment. A gateway's or a node's id is one segment, a client's may be several.

Here is decided who somebody is; what they may do is decided where roles meet routes.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence

import msgspec

MAX_URI_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._\-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._\-]+")


class IdentityError(ValueError):
    """Not one SPIFFE ID of this cluster. The text tells the rule, not the ID that broke it."""


class Role(enum.Enum):
    """What a principal is; the value is the first segment of its path."""

    GATEWAY = "gateway"
    NODE = "node"
    CLIENT = "client"


class Identity(msgspec.Struct, frozen=True):
    """A SPIFFE ID in parts, valid by construction: raises IdentityError for parts that do not obey the grammar."""

    trust_domain: str
    role: Role
    id: str

    def __post_init__(self) -> None:
        if len(self.trust_domain) > MAX_TRUST_DOMAIN_BYTES or _TRUST_DOMAIN.fullmatch(self.trust_domain) is None:
            raise IdentityError("a trust domain is 1 to 255 lower-case letters, digits, '.', '-' and '_'")
        segments = self.id.split("/")
        if any(_SEGMENT.fullmatch(segment) is None or segment in {".", ".."} for segment in segments):
            raise IdentityError("a segment of a SPIFFE ID's path is letters, digits, '.', '-' and '_', and neither '.' nor '..'")
        if len(segments) > 1 and self.role is not Role.CLIENT:
            raise IdentityError("the id of a gateway or a node is a single path segment")
        if len(self.uri) > MAX_URI_BYTES:
            raise IdentityError(f"a SPIFFE ID is at most {MAX_URI_BYTES} bytes")

    @property
    def uri(self) -> str:
        """The SPIFFE ID, such as ``spiffe://kofn.local/node/node-1``. ``parse`` gives back the same Identity."""
        return f"{_SCHEME}{self.trust_domain}/{self.role.value}/{self.id}"


def parse(uri: str) -> Identity:
    """The Identity that ``uri`` names. Raises IdentityError unless it is a SPIFFE ID with one of the roles and an id."""
    if not uri.startswith(_SCHEME):
        raise IdentityError("a SPIFFE ID begins with spiffe://")
    trust_domain, _, path = uri.removeprefix(_SCHEME).partition("/")
    role, _, name = path.partition("/")
    try:
        return Identity(trust_domain, Role(role), name)
    except IdentityError:
        raise
    except ValueError:
        raise IdentityError("a SPIFFE ID's role is one of gateway, node and client") from None


def only_identity(uri_sans: Sequence[str], trust_domain: str) -> Identity:
    """Whose certificate it is that carries these URI SANs: exactly one, a SPIFFE ID in ``trust_domain``.

    Raises IdentityError otherwise. More than one is refused even when one of them would do (X509-SVID standard, section 2):
    a certificate that says two things identifies nobody.
    """
    if len(uri_sans) != 1:
        raise IdentityError(f"a certificate must have exactly one URI SAN, this one has {len(uri_sans)}")
    identity = parse(uri_sans[0])
    if identity.trust_domain != trust_domain:
        raise IdentityError("the certificate belongs to another trust domain")
    return identity
