"""The access file: who may call, and as which principal. TOML in, values out; who reads the file, and when, is decided elsewhere.

    [principals.deploy]

    [[principals.deploy.allow]]
    namespaces = ["default"]
    paths = ["app/**"]
    capabilities = ["read", "list"]

    [[principals.deploy.deny]]
    namespaces = ["default"]
    paths = ["app/root/**"]
    capabilities = ["read"]

    [tokens.3f9c0a7be2]
    digest = "hex SHA-256 of the SECRET part"
    principal = "deploy"

    [clients."spiffe://kofn.local/client/ci"]
    principal = "deploy"

A bearer token is ``kofn_ID_SECRET``: ID is 8 to 32 characters of ``[a-z0-9]``, SECRET is 43 characters of base64url, 256 random bits.
A plain SHA-256 of it is enough: there is nothing to guess that a slow hash would have to protect.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from model.grants import GrantError, Principal, Rule, compile_rules
from model.identity import IdentityError, Role, parse

_TOKEN = re.compile(r"kofn_([a-z0-9]{8,32})_([A-Za-z0-9_-]{43})")
_TOKEN_ID = re.compile(r"[a-z0-9]{8,32}")
_PRINCIPAL = re.compile(r"[a-z0-9][a-z0-9\-]{0,62}")


class CallersError(ValueError):
    """The access file cannot be used; the text says where and why, and holds no digest."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token that is known: the ``digest`` of its secret part (hex, 64 characters) and whose it is."""

    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    principal: str

    def __repr__(self) -> str:
        return f"Token(principal={self.principal!r})"


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client certificate that is known: whose it is."""

    principal: str


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    principals: dict[str, _Rules] = {}
    tokens: dict[str, Token] = {}
    clients: dict[str, Client] = {}


class Callers(msgspec.Struct, frozen=True):
    """What an access file says: tokens by id, clients by SPIFFE ID, principals by id. Every principal that is named is there."""

    tokens: Mapping[str, Token]
    clients: Mapping[str, Client]
    principals: Mapping[str, Principal]


def decode(data: bytes) -> Callers:
    """The callers in the bytes of an access file. Raises CallersError."""
    try:
        document = msgspec.toml.decode(data, type=_Document)
        for uri in document.clients:
            if parse(uri).role is not Role.CLIENT:
                raise IdentityError("a client's SPIFFE ID has the role client")
        principals = {name: compile_rules(name, rules.allow, rules.deny) for name, rules in document.principals.items()}
    except GrantError as error:
        raise CallersError(str(error)) from None
    except ValueError as error:
        raise CallersError(f"not an access file: {error}") from None
    if not all(map(_PRINCIPAL.fullmatch, principals)):
        raise CallersError("a principal's name is 1 to 63 lower-case letters, digits and '-', not beginning with '-'")
    if not all(map(_TOKEN_ID.fullmatch, document.tokens)):
        raise CallersError("a token's id is 8 to 32 lower-case letters and digits")
    owners = {token.principal for token in document.tokens.values()} | {client.principal for client in document.clients.values()}
    if not owners <= principals.keys():
        raise CallersError("a token or a client belongs to a principal that is not in the file")
    return Callers(document.tokens, document.clients, principals)


def split_token(token: str) -> tuple[str, str] | None:
    """The id and the secret part of a bearer token; None for a text that is none."""
    match = _TOKEN.fullmatch(token)
    return None if match is None else (match[1], match[2])


def digest(secret: str) -> str:
    """What the access file keeps of a token: SHA-256 of its secret part, hex."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
