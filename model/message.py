"""The protocol's messages between nodes, typed, and their wire form (msgpack, strict).

One exchange is a list of ``Addressed`` messages in and a list of replies out, in the same order, applied in one transaction.
A reply never says more than its message asked for: shares travel only where a rule of specs/protocol.md needs them.
"""

from __future__ import annotations

import msgspec

from model.operation import SecretId
from model.record import Ballot, Header


class Vote(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    """PROTO-4: promise ``ballot`` and answer with a snapshot.

    ``retry_key``: also show the record that carries this retry digest. ``gather``: show the headers of everything held.
    """

    ballot: Ballot
    lease_ms: int
    retry_key: bytes | None = None
    gather: bool = False


class Write(msgspec.Struct, frozen=True, array_like=True, tag="write"):
    """PROTO-5: accept a record under ``ballot`` with this node's share and the sealed value."""

    ballot: Ballot
    header: Header
    share: bytes | None
    sealed: bytes | None

    def __repr__(self) -> str:
        return f"Write(ballot={self.ballot}, tag={self.header.tag})"


class Confirm(msgspec.Struct, frozen=True, array_like=True, tag="confirm"):
    """PROTO-6: the record was chosen; mark it. Ends the lease of its proposer."""

    tag: Ballot


class Void(msgspec.Struct, frozen=True, array_like=True, tag="void"):
    """PROTO-6: these records were judged void by a vote under ``ballot``; drop them, unless they were accepted again since."""

    ballot: Ballot
    tags: tuple[Ballot, ...]


class Release(msgspec.Struct, frozen=True, array_like=True, tag="release"):
    """PROTO-4: the proposal of this ballot wrote nothing and ended; end its lease."""

    ballot: Ballot


class Query(msgspec.Struct, frozen=True, array_like=True, tag="query"):
    """PROTO-6: a snapshot, no change.

    Without ``tag`` it shows the newest record known to be chosen and all above it (``lineage``: the headers of everything held);
    with ``tag`` just that record. ``shares`` and ``sealed`` ask for those too. Headers and sealed values of ``known`` tags are left out.
    """

    known: tuple[Ballot, ...] = ()
    shares: bool = False
    sealed: bool = False
    lineage: bool = False
    tag: Ballot | None = None


class Erase(msgspec.Struct, frozen=True, array_like=True, tag="erase"):
    """PROTO-8: this tombstone was chosen; physically delete every record with a smaller tag."""

    header: Header


class Repair(msgspec.Struct, frozen=True, array_like=True, tag="repair"):
    """PROTO-7: take over a chosen record, with this node's own share."""

    header: Header
    share: bytes | None
    sealed: bytes | None

    def __repr__(self) -> str:
        return f"Repair(tag={self.header.tag})"


class NamesAfter(msgspec.Struct, frozen=True, array_like=True, tag="names"):
    """Names that look live on this node, sorted, with ``prefix``, after ``after``; at most ``limit``."""

    prefix: str
    after: str
    limit: int


class ChangesAfter(msgspec.Struct, frozen=True, array_like=True, tag="changes"):
    """What changed on this node since its ``revision``; at most ``limit`` secrets (PROTO-13)."""

    revision: int
    limit: int


class Fence(msgspec.Struct, frozen=True, array_like=True, tag="fence"):
    """PROTO-12: promise, for every secret at once, nothing at or below this ballot counter."""

    counter: int


Message = Vote | Write | Confirm | Void | Release | Query | Erase | Repair | NamesAfter | ChangesAfter | Fence


class View(msgspec.Struct, frozen=True, array_like=True):
    """One held record as a snapshot shows it. ``header`` is None where the asker said that it knows the tag."""

    tag: Ballot
    header: Header | None
    ballot: Ballot
    chosen: bool
    share: bytes | None = None
    sealed: bytes | None = None

    def __repr__(self) -> str:
        return f"View(tag={self.tag}, ballot={self.ballot}, chosen={self.chosen}, share={self.share is not None})"


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """What a node holds for a secret. ``lease_ms``: how long another's running proposal may still claim it, 0 if none does."""

    promised: Ballot
    erased: Ballot
    views: tuple[View, ...]
    lease_ms: int = 0


class Promised(msgspec.Struct, frozen=True, array_like=True, tag="promised"):
    """The vote was given."""

    ballot: Ballot
    snapshot: Snapshot


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """A vote or write came too late: a higher ballot is promised."""

    promised: Ballot


class Locked(msgspec.Struct, frozen=True, array_like=True, tag="locked"):
    """Another proposal's lease is running for so many milliseconds more."""

    wait_ms: int


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag="accepted"):
    """The write is durable here, under this ballot."""

    ballot: Ballot
    tag: Ballot


class Erased(msgspec.Struct, frozen=True, array_like=True, tag="erased"):
    """Everything below this tombstone is gone from this node's files."""

    tag: Ballot


class Noted(msgspec.Struct, frozen=True, array_like=True, tag="noted"):
    """Heard; ``changed`` tells whether it made a difference."""

    changed: bool


class Unfit(msgspec.Struct, frozen=True, array_like=True, tag="unfit"):
    """The node cannot do this now: it is recovering, or its disk refused. Nothing changed."""


class NamePage(msgspec.Struct, frozen=True, array_like=True, tag="namepage"):
    names: tuple[str, ...]
    more: bool


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One changed secret: the tag of the newest record held there, ZERO if none."""

    secret: SecretId
    newest: Ballot


class ChangePage(msgspec.Struct, frozen=True, array_like=True, tag="changepage"):
    """``revision``: where to go on; ``counter``: the highest ballot counter this node has promised anywhere."""

    changes: tuple[Change, ...]
    revision: int
    counter: int
    more: bool


Reply = Snapshot | Promised | Refused | Locked | Accepted | Erased | Noted | Unfit | NamePage | ChangePage


class Addressed(msgspec.Struct, frozen=True, array_like=True):
    """A message and the secret it is about."""

    secret: SecretId
    message: Message


class Exchange(msgspec.Struct, frozen=True, array_like=True):
    """One request on the inner road. ``store`` is the receiver's store id as the sender knows it, empty if it does not (PROTO-12)."""

    sender: str
    store: bytes
    messages: tuple[Addressed, ...]


class Replies(msgspec.Struct, frozen=True, array_like=True):
    """The answer: the receiver's store id and, unless the sender knew another one, a reply for each message."""

    store: bytes
    replies: tuple[Reply, ...] | None


encode = msgspec.msgpack.Encoder().encode
decode_exchange = msgspec.msgpack.Decoder(Exchange).decode
decode_replies = msgspec.msgpack.Decoder(Replies).decode
