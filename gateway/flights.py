"""Many requests in one: whatever waits for a node rides together in the next flight to it.

A thread that finds a flight free sends at once, alone. While all flights are under way, those who come later wait; when a flight lands, its
thread hands the role of pilot to one of them, who takes everyone that waits. So an idle system sends at once, a busy one batches by itself,
and no timer and no extra thread is needed (after "flat combining": Hendler, Incze, Shavit, Tzafrir, SPAA 2010).
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Sequence

from model.operation import Create, Operation, Result, Update

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
    """One thread's operations, waiting for a flight. Its ``turn`` is released when ``landing`` or ``crew`` is there."""

    __slots__ = ("crew", "landing", "operations", "size", "turn")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.size = sum(map(size_bytes, operations))
        self.landing: Landing = Loss.NOT_RECEIVED
        self.crew: list[_Passenger] | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class Flights:
    """The flights to one node, ``limit`` at a time, each carried out by ``send``, which returns one result for each operation or a loss."""

    def __init__(self, send: Callable[[list[Operation]], Landing], limit: int) -> None:
        self._send = send
        self._limit = limit
        self._lock = threading.Lock()
        self._under_way = 0
        self._waiting: deque[_Passenger] = deque()

    def ask(self, operations: Sequence[Operation]) -> Landing:
        """The results of ``operations``, in order, or why there are none. Blocks until then."""
        me = _Passenger(operations)
        with self._lock:
            if self._under_way < self._limit:
                self._under_way += 1
                me.crew = [me]
            else:
                self._waiting.append(me)
        if me.crew is None:
            me.turn.acquire()
        if me.crew is not None:
            self._fly(me, me.crew)
        return me.landing

    def _fly(self, pilot: _Passenger, crew: list[_Passenger]) -> None:
        """Send what ``crew`` brought, give each its own part, and pass on the flight."""
        landing: Landing = Loss.NO_ANSWER
        try:
            landing = self._send([operation for member in crew for operation in member.operations])
        finally:
            self._pass_on(lost=isinstance(landing, Loss))
            start = 0
            for member in crew:
                end = start + len(member.operations)
                member.landing = landing if isinstance(landing, Loss) else landing[start:end]
                start = end
                if member is not pilot:
                    member.turn.release()

    def _pass_on(self, *, lost: bool) -> None:
        """Make one who waits the next pilot. After a loss those who wait were never sent: they go and ask another node."""
        stranded: Sequence[_Passenger] = ()
        pilot: _Passenger | None = None
        with self._lock:
            if lost:
                stranded = tuple(self._waiting)
                self._waiting.clear()
            if self._waiting:
                pilot = self._waiting.popleft()
                pilot.crew = self._board(pilot)
            else:
                self._under_way -= 1
        if pilot is not None:
            pilot.turn.release()
        for passenger in stranded:
            passenger.turn.release()

    def _board(self, pilot: _Passenger) -> list[_Passenger]:
        """The pilot and, in the order of arrival, those who fit in beside. Called with the lock held."""
        crew = [pilot]
        count, size = len(pilot.operations), pilot.size
        while self._waiting:
            count += len(self._waiting[0].operations)
            size += self._waiting[0].size
            if count > FLIGHT_OPERATIONS or size > FLIGHT_BYTES:
                break
            crew.append(self._waiting.popleft())
        return crew


def size_bytes(operation: Operation) -> int:
    """About how many bytes ``operation`` takes on the wire."""
    match operation:
        case Create(secrets=secrets):
            return sum(len(item.value) + _OPERATION_BYTES for item in secrets)
        case Update(secret=secret):
            return len(secret.value) + _OPERATION_BYTES
        case _:
            return _OPERATION_BYTES
