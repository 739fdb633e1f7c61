"""The roads to the other nodes: many messages ride in one request (PROTO-3).

Each peer has a road of its own, with a lane for what reads, so that it never waits for a disk to sync, and one for everything else
(``node.lane``).
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from model.identity import Identity, Role
from model.message import (
    Addressed,
    ChangesAfter,
    Exchange,
    NamesAfter,
    Query,
    Replies,
    Reply,
    Vote,
    decode_replies,
    encode,
)
from node.config import Settings
from node.flight import Connection, Flight
from node.inbox import Inbox
from node.lane import Lane
from node.parcel import Mailbox, Parcel
from node.tls import MutualContext

logger = logging.getLogger(__name__)

TURN_SECONDS = 10.0
"""How long the same peers are asked first: what they are asked then rides together, which costs them a request less."""
_READS = (Query, NamesAfter, ChangesAfter)
_OPENING = (Vote, Query, NamesAfter, ChangesAfter)
"""Messages that rest on nothing the peer said before: they may be meant for whatever store it has now."""


class Peers(Protocol):
    """What a coordinator needs of the other nodes; tests supply their own."""

    def mailbox(self) -> Mailbox:
        """A new mailbox for the calling thread."""

    def post(self, node: str, parcel: Parcel) -> None:
        """Take a parcel for ``node``; its Delivery reaches the mailbox in any case."""

    def order(self) -> tuple[str, ...]:
        """The peers, in the order in which to ask them: those that do not answer last."""

    def reachable(self) -> tuple[str, ...]:
        """The peers whose last exchange succeeded."""

    def store_of(self, node: str) -> bytes:
        """The id of a peer's store as last heard, empty if never."""


class Road:
    """The road to one peer. Implements ``node.lane.Road``."""

    def __init__(self, settings: Settings, node: str, context: MutualContext) -> None:
        parts = urlsplit(settings.nodes[node])
        self._host, self._port = str(parts.hostname), int(parts.port or 0)
        self._identity = Identity(settings.trust_domain, Role.NODE, node)
        self.connect_seconds = settings.connect_timeout_ms / 1000
        self._answer_seconds = settings.exchange_timeout_ms / 1000
        self._answer_bytes = settings.exchange_bytes
        self._sender = settings.id
        self._context = context
        self.store = b""
        self.reached = False
        self.failing = False
        self._reads, self._writes = Lane(self), Lane(self)
        self._reads.begin(f"reads-{node}")
        self._writes.begin(f"writes-{node}")

    def post(self, parcel: Parcel) -> None:
        """Take a parcel; where its lane is free, the mailbox's thread carries it."""
        reads = parcel.mailbox is not None and all(isinstance(addressed.message, _READS) for addressed in parcel.messages)
        lane = self._reads if reads else self._writes
        trip = lane.post(parcel)
        if trip is not None:
            assert isinstance(parcel.mailbox, Inbox), "deliveries over roads reach the mailboxes of Roads.mailbox"
            parcel.mailbox.watch(lane, trip)

    @property
    def silent(self) -> bool:
        """Whether the peer failed when it was asked last, or has kept somebody waiting."""
        return self.failing or self._reads.slow or self._writes.slow

    def connect(self) -> Connection:
        return Connection(self._host, self._port, self._identity, self._context.get(), self.connect_seconds)

    def depart(self, connection: Connection, messages: tuple[Addressed, ...]) -> Flight:
        body = encode(Exchange(self._sender, self.store, messages))
        return Flight(connection, "/v1/messages", body, time.monotonic() + self._answer_seconds, self._answer_bytes)

    def arrive(self, body: bytes, messages: tuple[Addressed, ...]) -> Sequence[Reply] | None:
        replies = _decode(body)
        if replies.replies is not None and len(replies.replies) != len(messages):
            raise ValueError("an answer of another length")
        self.store = replies.store
        self.reached, self.failing = True, False
        return replies.replies

    def may_repeat(self, messages: tuple[Addressed, ...]) -> bool:
        return all(isinstance(addressed.message, _OPENING) for addressed in messages)

    def fail(self, error: Exception) -> None:
        if not self.failing:
            logger.warning("node %s does not answer: %s", self._identity.id, type(error).__name__)
        self.reached, self.failing = False, True


class Roads:
    """All roads of a node. Implements ``Peers``."""

    def __init__(self, settings: Settings) -> None:
        context = MutualContext(settings, ssl.Purpose.SERVER_AUTH)
        self._roads = {node: Road(settings, node, context) for node in settings.peers}

    def mailbox(self) -> Mailbox:
        return Inbox()

    def post(self, node: str, parcel: Parcel) -> None:
        self._roads[node].post(parcel)

    def order(self) -> tuple[str, ...]:
        names = list(self._roads)
        start = int(time.monotonic() / TURN_SECONDS) % len(names)
        return tuple(sorted(names[start:] + names[:start], key=lambda node: self._roads[node].silent))

    def reachable(self) -> tuple[str, ...]:
        return tuple(node for node, road in self._roads.items() if road.reached)

    def store_of(self, node: str) -> bytes:
        return self._roads[node].store


def _decode(body: bytes) -> Replies:
    """Raises ValueError without a word of the content."""
    try:
        return decode_replies(body)
    except msgspec.MsgspecError:
        raise ValueError("an answer that is not a list of replies") from None
