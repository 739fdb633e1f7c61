"""What a node keeps for one secret: the storage record (specs/storage-record.md).

A *record* is one link of a secret's chain: a value or a tombstone (or, in a group's register, its decision). Its header is
immutable and the same on every node; beside it a node keeps its own share, the sealed value, and two facts of its own: the
ballot under which it last accepted the record and whether it knows the record to be chosen. This module defines the types
and how a new record is cut (sealed, split, committed to); it decides nothing about votes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest

import msgspec

from model import envelope, shamir
from model.operation import Encoding, Retry, SecretId

RETRY_KEPT_US = 24 * 3600 * 1_000_000
"""How long, in microseconds, a tombstone keeps the retry digests of what it buried (SEM-22)."""


class Ballot(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A proposal's rank: counter, then node id, then ``boot``, a random number drawn for the proposal.

    ``boot`` makes ballots unique, across restarts and lost disks too, without a durable counter (PROTO-2). The *tag* of a
    record is the ballot of its first proposal, for ever.
    """

    counter: int
    node: str
    boot: int

    @property
    def counts(self) -> bool:
        """Whether what is held under this ballot was accepted under it: not by repair (ZERO), not by hearsay (PROTO-12)."""
        return self != ZERO and self.boot >= 0

    def held_by_same(self, other: Ballot) -> bool:
        """Whether both ballots come from the same proposal (a lease does not stand between a proposal and its next round)."""
        return self.node == other.node and self.boot == other.boot


ZERO = Ballot(0, "", 0)


class Kind(enum.IntEnum):
    """What a record says."""

    VALUE = 1
    TOMBSTONE = 2
    COMMIT = 3
    ABORT = 4


class Doubt(msgspec.Struct, frozen=True, array_like=True):
    """An ancestor whose outcome was unknown when the record above it was proposed."""

    tag: Ballot
    version: int
    valid_from: int


class Buried(msgspec.Struct, frozen=True, array_like=True):
    """A retry digest that a tombstone keeps: the first outcome of a write it buried (``deleted`` for a delete).

    ``unsure``: the nodes that answered could not tell whether that write had ever taken effect.
    """

    retry: Retry
    deleted: bool
    version: int
    valid_from: int
    unsure: bool = False


class Header(msgspec.Struct, frozen=True, array_like=True):
    """A record's header, the same on all nodes.

    ``base`` is the tag of the record below that was known to be chosen when this one was proposed (None: nothing was
    there); ``doubts`` are the ones between, newest first, whose outcome was unknown (PROTO-9). ``commitments`` and
    ``placement`` run by share index, index 1 first; both are empty for records without shares. Times in microseconds.
    """

    tag: Ballot
    kind: Kind
    incarnation: Ballot
    sequence: int
    version: int
    base: Ballot | None
    doubts: tuple[Doubt, ...]
    valid_from: int
    threshold: int
    placement: tuple[str, ...]
    commitments: tuple[bytes, ...] = ()
    sealed_digest: bytes = b""
    encoding: Encoding = "utf-8"
    retry: Retry | None = None
    group: str | None = None
    buried: tuple[Buried, ...] = ()

    def names_ancestor(self, tag: Ballot) -> bool:
        """Whether ``tag`` is one of the doubts or lies at or below the base."""
        return (self.base is not None and tag <= self.base) or any(doubt.tag == tag for doubt in self.doubts)

    @property
    def is_create(self) -> bool:
        """Whether this record begins an incarnation; its base, if any, is then the tombstone of the one before."""
        return self.incarnation == self.tag

    @property
    def needs_shares(self) -> bool:
        """Tombstones and decisions have neither value nor shares."""
        return self.kind is Kind.VALUE


class Held(msgspec.Struct, frozen=True, array_like=True):
    """One record as one node holds it. ``ballot`` is ZERO if it came by repair: that never counts as an acceptance (PROTO-7)."""

    header: Header
    ballot: Ballot
    chosen: bool
    share: bytes | None
    sealed: bytes | None

    def __repr__(self) -> str:
        return f"Held(tag={self.header.tag}, ballot={self.ballot}, chosen={self.chosen}, shard={self.share is not None})"


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """A running proposal's claim; volatile, spares collisions, safety never rests on it. ``until_ms``: the node's monotonic clock."""

    ballot: Ballot
    until_ms: int


class Register(msgspec.Struct, frozen=True, array_like=True):
    """A node's whole state for one secret (or for one group's decision). ``records`` run by sequence, oldest first.

    ``records`` may be a part of what is stored: at least the newest record known to be chosen and all above it, and
    whatever ``participant.reach`` asks for on behalf of the message at hand.
    """

    promised: Ballot = ZERO
    erased: Ballot = ZERO
    records: tuple[Held, ...] = ()
    lease: Lease | None = None

    def held(self, tag: Ballot) -> Held | None:
        return next((held for held in self.records if held.header.tag == tag), None)


class Entropy(msgspec.Struct, frozen=True):
    """The randomness of one version: key (32 bytes), nonce (12 bytes), k-1 coefficients below the field's prime."""

    key: bytes
    nonce: bytes
    coefficients: tuple[int, ...]

    def __repr__(self) -> str:
        return "Entropy()"


class Cut(msgspec.Struct, frozen=True):
    """A new record cut for its nodes: header, sealed value, and each node's share."""

    header: Header
    sealed: bytes | None
    shares: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"Cut(tag={self.header.tag})"


def group_register(group: str) -> SecretId:
    """The register that decides a group; its namespace is one that no caller can have."""
    return SecretId("", group)


_binding_encoder = msgspec.msgpack.Encoder()


def binding(secret: SecretId, header: Header) -> bytes:
    """Everything that identifies a version, as bytes: associated data of its AEAD, context of its commitments (STORE-4)."""
    tag, born = header.tag, header.incarnation
    return _binding_encoder.encode(
        (
            "kofn/1",
            secret.namespace,
            secret.name,
            tag.counter,
            tag.node,
            tag.boot,
            born.counter,
            born.node,
            born.boot,
            header.version,
            header.threshold,
            header.placement,
            header.encoding,
        )
    )


def cut(secret: SecretId, header: Header, value: bytes, entropy: Entropy) -> Cut:
    """Seal ``value`` under a fresh key, split the key, commit to each share (STORE-3)."""
    context = binding(secret, header)
    sealed = envelope.seal(entropy.key, entropy.nonce, value, context)
    shares = shamir.split(entropy.key, header.threshold, len(header.placement), entropy.coefficients)
    commitments = tuple(shamir.commitment(context, index, share) for index, share in enumerate(shares, start=1))
    header = msgspec.structs.replace(header, commitments=commitments, sealed_digest=sha256(sealed).digest())
    return Cut(header, sealed, dict(zip(header.placement, shares, strict=True)))


def share_is_sound(secret: SecretId, header: Header, node: str, share: bytes | None) -> bool:
    """Whether ``share`` is the one that ``header`` commits to for ``node``."""
    if share is None or node not in header.placement:
        return False
    index = header.placement.index(node) + 1
    return compare_digest(shamir.commitment(binding(secret, header), index, share), header.commitments[index - 1])


def sealed_is_sound(header: Header, sealed: bytes | None) -> bool:
    """Whether ``sealed`` is the ciphertext that ``header`` names."""
    return sealed is not None and compare_digest(sha256(sealed).digest(), header.sealed_digest)


def open_value(secret: SecretId, header: Header, shares: Mapping[str, bytes], sealed: bytes) -> bytes:
    """Combine exactly k sound shares (node -> share) and open the value. Raises ``EnvelopeError``, ``ShamirError``."""
    chosen = dict(list(by_index(header, shares).items())[: header.threshold])
    return envelope.open_sealed(shamir.combine(chosen), sealed, binding(secret, header))


def by_index(header: Header, shares: Mapping[str, bytes]) -> dict[int, bytes]:
    """Shares by share index instead of by node."""
    return {header.placement.index(node) + 1: share for node, share in shares.items()}


def shares_for(header: Header, shares: Mapping[str, bytes], nodes: tuple[str, ...]) -> dict[str, bytes]:
    """Each of ``nodes``' own share, interpolated from k sound ones on the *same* polynomial.

    Two repairs at once then write the same bytes (PROTO-7).
    """
    known = dict(list(by_index(header, shares).items())[: header.threshold])
    return {node: shares.get(node) or shamir.share_at(known, header.placement.index(node) + 1) for node in nodes}
