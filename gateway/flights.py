"""Many requests in one: whatever waits for a node rides together in the next flight to it.

A request that finds no flight under way sends at once, alone. Those that come meanwhile wait; when the flight lands, the first of them
becomes the pilot of the next, which takes everyone that waits. So an idle system sends at once, a busy one batches by itself (after "flat
combining": Hendler, Incze, Shavit, Tzafrir, SPAA 2010). Few large flights cost less than many small ones; so another leaves beside the
first only when it is full enough, or when the first keeps somebody waiting for long.

A flight is a greenlet of its own, which its pilot oversees: who is not patient leaves one that is overdue, and asks elsewhere.

All of it runs in one thread, as greenlets: what does not wait is not interrupted, so there is nothing to lock.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from model.operation import Create, Operation, Result, Update

HELD_UP_SECONDS = 0.05
FULL_PASSENGERS = 16
"""After how long those who wait no longer wait for the flight before them; neither do they when they are so many."""
OPERATION_SECONDS = 0.002
"""How much longer a flight may take for each operation before it is overdue."""
FLIGHT_OPERATIONS = 512
FLIGHT_BYTES = 4_194_304
"""How much rides together at most. A single request that is larger flies alone."""

_OPERATION_BYTES = 512


class Loss(enum.Enum):
    """Why there are no results."""

    NOT_RECEIVED = "the node did nothing with it"
    NO_ANSWER = "the node may have acted on it"


Landing = list[Result] | Loss


class _Passenger:
    """One request's operations, waiting for a flight. Its ``turn`` has come when ``landing`` is there, or ``flight``, as whose pilot it
    sees to its ``crew``, itself included.
    """

    __slots__ = ("crew", "flight", "landing", "operations", "patient", "size", "turn")

    def __init__(self, operations: Sequence[Operation], patient: bool) -> None:
        self.operations = operations
        self.patient = patient
        self.size = sum(map(size_bytes, operations))
        self.landing: Landing = Loss.NOT_RECEIVED
        self.crew: list[_Passenger] = []
        self.flight: gevent.Greenlet[..., None] | None = None
        self.turn = Event()


class Flights:
    """The flights to one node, at most ``limit`` at a time. ``send`` carries one out: a result for each operation, or a loss.

    One is overdue after ``overdue_seconds``: the node may be paused, so others are asked first.
    """

    def __init__(self, send: Callable[[list[Operation]], Landing], limit: int, overdue_seconds: float) -> None:
        self._send = send
        self._limit = limit
        self._overdue_seconds = overdue_seconds
        self._departed: set[_Passenger] = set()
        self._overdue: set[_Passenger] = set()
        self._waiting: deque[_Passenger] = deque()

    @property
    def overdue(self) -> bool:
        """Whether a flight is under way that should have landed."""
        return bool(self._overdue)

    def ask(self, operations: Sequence[Operation], *, patient: bool) -> Landing:
        """The results of ``operations``, in order, or why there are none. Waits until then, or, if not ``patient``, until it is overdue."""
        me = _Passenger(operations, patient)
        self._waiting.append(me)
        if self._may_depart():
            self._depart(me)
        elif self.overdue:
            self._waiting.remove(me)
            return me.landing
        else:
            me.turn.wait()
        if me.flight is not None:
            self._oversee(me, me.flight)
        return me.landing

    def _may_depart(self) -> bool:
        """Whether those who wait need not wait for the flight before them: there is none, or they are many, or it is overdue."""
        if len(self._departed) >= self._limit:
            return False
        return not self._departed or len(self._waiting) >= FULL_PASSENGERS or self.overdue

    def _fly(self, pilot: _Passenger) -> None:
        """Send what the crew brought, give each its own part, and let the next flight depart."""
        landing: Landing = Loss.NO_ANSWER
        try:
            landing = self._send([operation for member in pilot.crew for operation in member.operations])
        finally:
            self._departed.remove(pilot)
            self._overdue.discard(pilot)
            start = 0
            for member in pilot.crew:
                end = start + len(member.operations)
                member.landing = landing if isinstance(landing, Loss) else landing[start:end]
                start = end
                member.turn.set()
            if isinstance(landing, Loss):
                self._strand()
            elif self._waiting and self._may_depart():
                self._call_next()

    def _oversee(self, pilot: _Passenger, flight: gevent.Greenlet[..., None]) -> None:
        """Until the flight lands, or nobody needs to wait for it any longer: see to those whom it keeps waiting."""
        if not _landed(flight, HELD_UP_SECONDS):
            if self._waiting and len(self._departed) < self._limit:
                self._call_next()
            if not _landed(flight, self._overdue_seconds + OPERATION_SECONDS * sum(len(member.operations) for member in pilot.crew)):
                self._overdue.add(pilot)
                self._strand()
                for member in pilot.crew:
                    if not member.patient:
                        member.landing = Loss.NO_ANSWER
                        member.turn.set()
                if not pilot.patient:
                    return
        flight.get()

    def _strand(self) -> None:
        """Those who wait were never sent: they go and ask another node."""
        for passenger in self._waiting:
            passenger.turn.set()
        self._waiting.clear()

    def _call_next(self) -> None:
        """Make the one who waits for longest the next pilot."""
        pilot = self._waiting[0]
        self._depart(pilot)
        pilot.turn.set()

    def _depart(self, pilot: _Passenger) -> None:
        """Take those who wait, in the order of arrival, as far as they fit in beside the pilot."""
        self._waiting.remove(pilot)
        crew = [pilot]
        count, size = len(pilot.operations), pilot.size
        while self._waiting:
            count += len(self._waiting[0].operations)
            size += self._waiting[0].size
            if count > FLIGHT_OPERATIONS or size > FLIGHT_BYTES:
                break
            crew.append(self._waiting.popleft())
        pilot.crew = crew
        pilot.flight = gevent.spawn(self._fly, pilot)
        self._departed.add(pilot)


def _landed(flight: gevent.Greenlet[..., None], seconds: float) -> bool:
    """Wait so long at most; whether the flight is over."""
    flight.join(seconds)
    return flight.ready()


def size_bytes(operation: Operation) -> int:
    """About how many bytes ``operation`` takes on the wire."""
    match operation:
        case Create(secrets=secrets):
            return sum(len(item.value) + _OPERATION_BYTES for item in secrets)
        case Update(secret=secret):
            return len(secret.value) + _OPERATION_BYTES
        case _:
            return _OPERATION_BYTES
