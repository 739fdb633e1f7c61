"""The roads to the other nodes: many messages ride in one request (PROTO-3).

Each peer has a road of its own. Whatever waits for the peer leaves together; while that request is under way the next list fills
up. There is no timer in this: an idle road sends at once, a busy one batches by itself. Messages that nobody waits for (Confirm,
Release, Void) ride along with the next request, or leave by themselves after a moment.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from http.client import HTTPResponse, HTTPSConnection
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from model.identity import Identity, IdentityError, Role
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
from node.tls import DeadlineSocket, MutualContext, identity_of

logger = logging.getLogger(__name__)

FLIGHT_MESSAGES = 1024
RIDE_SECONDS = 0.02
"""How long a message that nobody waits for waits for company."""
TURN_SECONDS = 1.0
"""How long the same peers are asked first: what they are asked then rides together, which costs them a request less."""
_READS = (Query, NamesAfter, ChangesAfter)
_OPENING = (Vote, Query, NamesAfter, ChangesAfter)
"""Messages that rest on nothing the peer said before: they may be meant for whatever store it has now."""


class Delivery(NamedTuple):
    """What came of a parcel: its tokens and, in step, the replies; None if none will come."""

    tokens: Sequence[Any]
    replies: Sequence[Reply] | None


class Mailbox(Protocol):
    """Where deliveries wait for the one who asked; ``queue.SimpleQueue`` is one."""

    def put(self, item: Delivery) -> None:
        """Leave a delivery. Safe from any thread."""

    def get(self, *, timeout: float) -> Delivery:
        """The next delivery. Raises ``queue.Empty`` when none has come for ``timeout`` seconds."""


class Parcel(NamedTuple):
    """Messages for one peer, and where their replies go; without a mailbox nobody waits."""

    messages: Sequence[Addressed]
    tokens: Sequence[Any]
    mailbox: Mailbox | None


class Peers(Protocol):
    """What a coordinator needs of the other nodes; tests supply their own."""

    def post(self, node: str, parcel: Parcel) -> None:
        """Take a parcel for ``node``; its Delivery reaches the mailbox in any case."""

    def order(self) -> tuple[str, ...]:
        """The peers, in the order in which to ask them: those that answered last before those that failed."""

    def reachable(self) -> tuple[str, ...]:
        """The peers whose last exchange succeeded."""

    def store_of(self, node: str) -> bytes:
        """The id of a peer's store as last heard, empty if never."""


class _Connection(HTTPSConnection):
    """A connection to exactly one node: a host name alone would let one node pose as another."""

    def __init__(self, road: Road, context: ssl.SSLContext) -> None:
        super().__init__(road.host, road.port, timeout=road.connect_seconds, context=context)
        self._road = road

    def connect(self) -> None:
        super().connect()
        if identity_of(self.sock, self._road.identity.trust_domain) != self._road.identity:
            raise IdentityError("the certificate belongs to another node")

    def post(self, path: str, body: bytes, limit_bytes: int) -> bytes:
        """The body of the answer to one request. Head and body leave in one piece. Raises ValueError unless it is 200 and short enough."""
        assert isinstance(self.sock, DeadlineSocket), "an open connection"
        self.sock.settimeout(self._road.answer_seconds)
        self.sock.deadline = time.monotonic() + self._road.answer_seconds  # for the whole answer, however slowly it drips
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/msgpack\r\nContent-Length: {len(body)}\r\n\r\n"
        self.sock.sendall(head.encode() + body)
        response = HTTPResponse(self.sock, method="POST")
        response.begin()
        if response.status != 200 or response.length is None or response.length > limit_bytes:
            raise ValueError(f"unusable answer, status {response.status}")
        return response.read()


class _Lane:
    """What waits to be carried to one peer, one request after the other, in the order it was posted.

    The order matters: a Release that overtook its Vote would leave a lease that nobody ends.
    """

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._waiting: deque[Parcel] = deque()
        self._urgent = 0

    def put(self, parcel: Parcel) -> None:
        with self._wake:
            self._waiting.append(parcel)
            self._urgent += parcel.mailbox is not None
            self._wake.notify()

    def give_up(self) -> list[Parcel]:
        """Nobody answers: take all that waits, so that it is told and does not pile up."""
        with self._wake:
            parcels = list(self._waiting)
            self._waiting.clear()
            self._urgent = 0
            return parcels

    def load(self) -> list[Parcel]:
        """Wait for something to carry; take what is there, up to a limit. What nobody waits for waits a moment for company."""
        with self._wake:
            while not self._urgent:
                if not self._wake.wait(RIDE_SECONDS if self._waiting else None) and self._waiting:
                    break
            parcels: list[Parcel] = []
            count = 0
            while self._waiting and (not parcels or count + len(self._waiting[0].messages) <= FLIGHT_MESSAGES):
                parcels.append(self._waiting.popleft())
                count += len(parcels[-1].messages)
                self._urgent -= parcels[-1].mailbox is not None
            return parcels


class Road:
    """The road to one peer: a lane for what reads, so that it never waits for a disk to sync, and one for everything else."""

    def __init__(self, settings: Settings, node: str, context: MutualContext) -> None:
        parts = urlsplit(settings.nodes[node])
        self.host, self.port = str(parts.hostname), int(parts.port or 0)
        self.identity = Identity(settings.trust_domain, Role.NODE, node)
        self.connect_seconds = settings.connect_timeout_ms / 1000
        self.answer_seconds = settings.exchange_timeout_ms / 1000
        self._answer_bytes = settings.exchange_bytes
        self._sender = settings.id
        self._context = context
        self.store = b""
        self.reached = False
        self.failing = False
        self._reads, self._writes = _Lane(), _Lane()
        for lane in (self._reads, self._writes):
            threading.Thread(target=self._fly, args=(lane,), name=f"road-{node}", daemon=True).start()

    def post(self, parcel: Parcel) -> None:
        reads = parcel.mailbox is not None and all(isinstance(addressed.message, _READS) for addressed in parcel.messages)
        (self._reads if reads else self._writes).put(parcel)

    def _fly(self, lane: _Lane) -> None:
        """One flight after another, for ever, on one kept-alive connection."""
        connection: _Connection | None = None
        while True:
            parcels = lane.load()
            messages = tuple(message for parcel in parcels for message in parcel.messages)
            kept, begun = connection, time.monotonic()
            connection, replies = self._carry(kept, messages)
            if connection is None and kept is not None and time.monotonic() - begun < self.connect_seconds:
                connection, replies = self._carry(None, messages)  # it had died while it rested; every message may be said twice
            if connection is None:
                parcels += lane.give_up()
            self._deliver(parcels, replies)

    def _carry(self, connection: _Connection | None, messages: tuple[Addressed, ...]) -> tuple[_Connection | None, Sequence[Reply] | None]:
        """One exchange, on a new connection if there is none. Returns the connection if it can be used again, and the replies, if any."""
        try:
            if connection is None:
                connection = _Connection(self, self._context.get())
                connection.connect()
            replies = self._exchange(connection, messages)
        except Exception as error:  # noqa: BLE001 - whatever a peer does, the road to it stays
            if not self.failing:
                logger.warning("node %s does not answer: %s", self.identity.id, type(error).__name__)
            self.reached, self.failing = False, True
            if connection is not None:
                connection.close()
            return None, None
        self.reached, self.failing = True, False
        return connection, replies

    def _exchange(self, connection: _Connection, messages: tuple[Addressed, ...]) -> Sequence[Reply] | None:
        """Send a list of messages, return the list of replies; None if the peer's store is not the one they were meant for (PROTO-12)."""
        replies = self._post(connection, messages)
        if replies is None and all(isinstance(addressed.message, _OPENING) for addressed in messages):
            return self._post(connection, messages)
        return replies

    def _post(self, connection: _Connection, messages: tuple[Addressed, ...]) -> Sequence[Reply] | None:
        body = encode(Exchange(self._sender, self.store, messages))
        replies = _decode(connection.post("/v1/messages", body, self._answer_bytes))
        self.store = replies.store
        if replies.replies is not None and len(replies.replies) != len(messages):
            raise ValueError("an answer of another length")
        return replies.replies

    def _deliver(self, parcels: list[Parcel], replies: Sequence[Reply] | None) -> None:
        start = 0
        for parcel in parcels:
            end = start + len(parcel.messages)
            if parcel.mailbox is not None:
                parcel.mailbox.put(Delivery(parcel.tokens, None if replies is None else replies[start:end]))
            start = end


class Roads:
    """All roads of a node. Implements ``Peers``."""

    def __init__(self, settings: Settings) -> None:
        context = MutualContext(settings, ssl.Purpose.SERVER_AUTH)
        self._roads = {node: Road(settings, node, context) for node in settings.peers}

    def post(self, node: str, parcel: Parcel) -> None:
        self._roads[node].post(parcel)

    def order(self) -> tuple[str, ...]:
        names = list(self._roads)
        start = int(time.monotonic() / TURN_SECONDS) % len(names)
        return tuple(sorted(names[start:] + names[:start], key=lambda node: self._roads[node].failing))

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
