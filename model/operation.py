"""What a gateway asks of a node, and what the node answers: the typed lists that ride the gateway-to-node road.

A request is one msgpack list of operations, the answer the list of results in the same order. The node decides everything
about existence, versions and outcomes; the gateway only renders. Times are integers, microseconds since the Unix epoch.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Encoding = Literal["utf-8", "base64"]


class SecretId(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A secret's identity: namespace and name (see ``model.name`` for the grammar of both)."""

    namespace: str
    name: str


class Retry(msgspec.Struct, frozen=True, array_like=True):
    """What makes a retry recognisable (SEM-20): digests, 32 bytes each.

    ``key`` is the digest of namespace, principal and idempotency key. ``request`` is the digest of the request's parts that are not
    secret (operation, names, encoding, expected version). The value is deliberately not in it: a digest of a low-entropy
    value on one node's disk would make the value guessable. Values are compared through their shares instead.
    """

    key: bytes
    request: bytes


class NewValue(msgspec.Struct, frozen=True, array_like=True):
    """One secret to create. ``value`` is 0 to 1 MiB of plaintext; ``encoding`` is how the client wrote it."""

    secret: SecretId
    value: bytes
    encoding: Encoding = "utf-8"

    def __repr__(self) -> str:
        return f"NewValue(secret={self.secret!r})"


class Create(msgspec.Struct, frozen=True, tag="create", array_like=True):
    """Create every one of ``secrets`` or none (one or more, names distinct), at gateway time ``now``."""

    secrets: tuple[NewValue, ...]
    now: int
    retry: Retry | None = None


class Update(msgspec.Struct, frozen=True, tag="update", array_like=True):
    """A new version of an existing secret; ``expected_version`` is If-Match."""

    secret: NewValue
    now: int
    expected_version: int | None = None
    retry: Retry | None = None


class Delete(msgspec.Struct, frozen=True, tag="delete", array_like=True):
    """Erase the secret by threshold."""

    secret: SecretId
    now: int
    retry: Retry | None = None


class Read(msgspec.Struct, frozen=True, tag="read", array_like=True):
    """One version: the latest, or ``version``, or the one valid at the time ``at``. Without ``reveal`` no value is rebuilt."""

    secret: SecretId
    version: int | None = None
    at: int | None = None
    reveal: bool = True


class History(msgspec.Struct, frozen=True, tag="history", array_like=True):
    """Every version, oldest first, without values."""

    secret: SecretId


class List(msgspec.Struct, frozen=True, tag="list", array_like=True):
    """Names of live secrets that start with ``prefix`` and sort (by code point) after ``after``; at most ``limit`` (1 to 1000)."""

    namespace: str
    prefix: str = ""
    after: str = ""
    limit: int = 100


class Status(msgspec.Struct, frozen=True, tag="status", array_like=True):
    """How many nodes serve, as far as this one sees."""


Operation = Create | Update | Delete | Read | History | List | Status


class Version(msgspec.Struct, frozen=True, array_like=True):
    """A version and its validity interval [valid_from, valid_to) in microseconds; ``valid_to`` is None for the latest."""

    version: int
    valid_from: int
    valid_to: int | None = None


class Written(msgspec.Struct, frozen=True, tag="written", array_like=True):
    """A create's or an update's outcome: a version for each secret, in the order asked."""

    versions: tuple[Version, ...]


class Deleted(msgspec.Struct, frozen=True, tag="deleted", array_like=True):
    """So many shards are erased that fewer than k are left."""


class Found(msgspec.Struct, frozen=True, tag="found", array_like=True):
    """A read's outcome. ``value`` is None where ``reveal`` was false."""

    version: Version
    value: bytes | None
    encoding: Encoding

    def __repr__(self) -> str:
        return f"Found(version={self.version!r})"


class Versions(msgspec.Struct, frozen=True, tag="versions", array_like=True):
    """A history: every version, oldest first."""

    versions: tuple[Version, ...]


class Names(msgspec.Struct, frozen=True, tag="names", array_like=True):
    """A page of names, sorted; ``more`` tells whether another page follows after the last of them."""

    names: tuple[str, ...]
    more: bool


class NodeStatus(msgspec.Struct, frozen=True, tag="status", array_like=True):
    """A node's view: how many nodes serve, itself included, and how many it needs for a read and for a write."""

    node: str
    serving_count: int
    read_quorum: int
    write_quorum: int


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """A failure: a code of ``model.errors``, a detail safe to show, the names at fault.

    ``retry_ms`` is set when nothing was written and the same operation may simply be asked again after about so many
    milliseconds (another write held the secret, or was under way while reading); the asker decides how long to go on.
    """

    code: str
    detail: str = ""
    names: tuple[str, ...] = ()
    retry_ms: int | None = None


Result = Written | Deleted | Found | Versions | Names | NodeStatus | Failed
