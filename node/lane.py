"""What waits to be carried to one peer, one request after the other, in the order it was posted (PROTO-3).

Whatever waits leaves together; while that request is under way the next list fills up. There is no timer in this: an idle lane sends at
once, a busy one batches by itself. Who posts to an idle lane carries the request in their own thread, so that a thread that asks several
peers waits for all of them at once and wakes nobody; what comes while it is under way is carried by the lane's own thread, and so is what
was left behind. Messages that nobody waits for (Confirm, Release, Void) ride along with the next request, or leave by themselves after a
moment.

The order matters: a Release that overtook its Vote would leave a lease that nobody ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from model.message import Addressed, Reply
from node.flight import Connection, Flight, wait
from node.parcel import Delivery, Parcel

FLIGHT_MESSAGES = 1024
SLOW_SECONDS = 0.1
"""After how long a peer that has not answered is asked last."""
RIDE_SECONDS = 0.02
"""How long a message that nobody waits for waits for company."""


class Trip(NamedTuple):
    """Parcels under way, on a ``fresh`` connection or one that had rested; ``repeated``: the peer had another store."""

    parcels: list[Parcel]
    messages: tuple[Addressed, ...]
    flight: Flight
    begun: float
    fresh: bool
    repeated: bool


class Road(Protocol):
    """What a lane needs of its road."""

    connect_seconds: float

    def connect(self) -> Connection:
        """A new connection to the peer. Raises OSError or ValueError."""

    def depart(self, connection: Connection, messages: tuple[Addressed, ...]) -> Flight:
        """A flight that carries ``messages``."""

    def arrive(self, body: bytes, messages: tuple[Addressed, ...]) -> Sequence[Reply] | None:
        """The replies in an answer; None if the peer has another store than the messages were meant for. Raises ValueError."""

    def may_repeat(self, messages: tuple[Addressed, ...]) -> bool:
        """Whether ``messages`` may be meant for whatever store the peer has now."""

    def fail(self, error: Exception) -> None:
        """The peer does not answer."""


class Lane:
    """A lane of ``road``; ``begin`` starts its thread."""

    def __init__(self, road: Road) -> None:
        self._road = road
        self._wake = threading.Condition()
        self._waiting: deque[Parcel] = deque()
        self._urgent = 0
        self._under_way = False
        self._departed = 0.0
        self._again: tuple[list[Parcel], bool] | None = None
        self._left: Trip | None = None
        self._connection: Connection | None = None

    def begin(self, name: str) -> None:
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def post(self, parcel: Parcel) -> Trip | None:
        """Take a parcel; a trip if the caller must carry it now."""
        with self._wake:
            self._waiting.append(parcel)
            self._urgent += parcel.mailbox is not None
            connection = self._connection
            if parcel.mailbox is None or self._under_way or connection is None:
                self._wake.notify()
                return None
            self._under_way, self._connection = True, None
            parcels = self._load()
        try:
            return self._trip(connection, parcels, fresh=False, repeated=False)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with these, the lane stays
            connection.close()
            self._failed(parcels, error)
            return None

    @property
    def slow(self) -> bool:
        """Whether a request has been under way for long."""
        return self._under_way and time.monotonic() - self._departed > SLOW_SECONDS

    def carry(self, trip: Trip) -> bool:
        """Go on with a trip, without waiting; whether it is over, and everybody told."""
        try:
            if time.monotonic() >= trip.flight.deadline:
                raise TimeoutError("no answer in time")
            answer = trip.flight.advance()
            if answer is None:
                return False
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            replies = self._road.arrive(answer.body, trip.messages)
        except Exception as error:  # noqa: BLE001 - whatever a peer does, the lane stays
            self._lost(trip, error)
            return True
        connection = trip.flight.connection if answer.keeps and not trip.flight.connection.is_old else None
        if connection is None:
            trip.flight.connection.close()
        if replies is None and not trip.repeated and self._road.may_repeat(trip.messages):
            self._once_more(trip.parcels, connection, repeated=True)
        else:
            self._over(trip.parcels, replies, connection)
        return True

    def take_over(self, trip: Trip) -> None:
        """Carry a trip that somebody has begun."""
        with self._wake:
            self._left = trip
            self._wake.notify()

    def _run(self) -> None:
        """One trip after another, for ever."""
        while True:
            trip = self._next()
            while trip is not None and not self.carry(trip):
                wait((trip.flight,), None, trip.flight.deadline - time.monotonic())

    def _next(self) -> Trip | None:
        """Wait for something to carry, and begin to; None if that failed at once. What nobody waits for waits a moment for company."""
        with self._wake:
            alone = False
            while self._left is None and self._again is None and (self._under_way or not (self._urgent or (alone and self._waiting))):
                alone = not self._wake.wait(RIDE_SECONDS if self._waiting and not self._under_way else None)
            if self._left is not None:
                trip, self._left = self._left, None
                return trip
            self._under_way = True
            (parcels, repeated), self._again = self._again or (self._load(), False), None
            rested, self._connection = self._connection, None
        try:
            connection = rested or self._road.connect()
            return self._trip(connection, parcels, fresh=rested is None, repeated=repeated)
        except Exception as error:  # noqa: BLE001 - whatever a peer does, and whatever is wrong with these, the lane stays
            self._failed(parcels, error)
            return None

    def _load(self) -> list[Parcel]:
        """Take what waits, up to a limit. Called with the lock held."""
        parcels: list[Parcel] = []
        count = 0
        while self._waiting and (not parcels or count + len(self._waiting[0].messages) <= FLIGHT_MESSAGES):
            parcels.append(self._waiting.popleft())
            count += len(parcels[-1].messages)
            self._urgent -= parcels[-1].mailbox is not None
        return parcels

    def _trip(self, connection: Connection, parcels: list[Parcel], *, fresh: bool, repeated: bool) -> Trip:
        messages = tuple(message for parcel in parcels for message in parcel.messages)
        self._departed = time.monotonic()
        return Trip(parcels, messages, self._road.depart(connection, messages), self._departed, fresh, repeated)

    def _lost(self, trip: Trip, error: Exception) -> None:
        """A connection may have died while it rested: then once more, on a new one. Every message may be said twice."""
        trip.flight.connection.close()
        if trip.fresh or time.monotonic() - trip.begun >= self._road.connect_seconds:
            self._failed(trip.parcels, error)
        else:
            self._once_more(trip.parcels, None, repeated=trip.repeated)

    def _failed(self, parcels: list[Parcel], error: Exception) -> None:
        """Nobody answers: all that waits is told too, so that it does not pile up."""
        self._road.fail(error)
        with self._wake:
            parcels = [*parcels, *self._waiting]
            self._waiting.clear()
            self._urgent = 0
        self._over(parcels, None, None)

    def _once_more(self, parcels: list[Parcel], connection: Connection | None, *, repeated: bool) -> None:
        """Have the lane's own thread make a trip again, before any other."""
        with self._wake:
            self._again, self._connection = (parcels, repeated), connection
            self._wake.notify()

    def _over(self, parcels: list[Parcel], replies: Sequence[Reply] | None, connection: Connection | None) -> None:
        """A trip has ended: let the next begin, and tell everybody."""
        with self._wake:
            self._under_way, self._connection = False, connection
            if self._waiting:
                self._wake.notify()
        start = 0
        for parcel in parcels:
            end = start + len(parcel.messages)
            if parcel.mailbox is not None:
                parcel.mailbox.put(Delivery(parcel.tokens, None if replies is None else replies[start:end]))
            start = end
